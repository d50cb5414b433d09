"""Makes the pages whose content comes from the code."""
