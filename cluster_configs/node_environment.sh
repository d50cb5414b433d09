# For aws.yaml, gcp.yaml and on_premises.yaml: what every shell of a node has, and so Ray's processes.
export PATH="$HOME/sacred_ray_venv/bin:$PATH"
export RAY_USAGE_STATS_ENABLED=0
# Without the token in ~/.ray/auth_token nobody can use this Ray.
export RAY_AUTH_MODE=token
# The address of the database, with its password, is in a file that only its owner can read.
if [ -r "$HOME/.sacred_mongo_url" ]; then
    SACRED_MONGO_URL=$(cat "$HOME/.sacred_mongo_url")
    export SACRED_MONGO_URL
fi
