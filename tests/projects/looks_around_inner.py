"""An experiment that writes down all that Ray tells whoever is connected to it."""

import time

from sacred import Experiment

looking_ex = Experiment("looking_ex")


@looking_ex.config
def config():
    point = 0
    seconds = 1.0
    seen = ""  # a file for what is found


@looking_ex.main
def run(point, seconds, seen, _run):
    if seen and point == 0:
        with open(seen, "w") as file:
            file.write(_all_that_ray_tells())
    for step in range(round(10 * seconds)):
        _run.log_scalar("height", step)
        time.sleep(0.1)
    return point


def _all_that_ray_tells():
    import ray
    from ray._private import state
    from ray.experimental import internal_kv

    told = [str(state.jobs()), str(state.actors()), str(state.workers()), str(ray.nodes())]
    context = ray.get_runtime_context()
    told += [str(context.runtime_env), str(context.get()), context.get_runtime_env_string()]
    told.append(str(context.worker.core_worker.get_job_config()))
    client = internal_kv.internal_kv_get_gcs_client()
    for space in (None, b"fun", b"job", b"dashboard", b"session", b"tracing", b"package"):
        for key in client.internal_kv_keys(b"", space):
            content = client.internal_kv_get(key, space) or b""
            told.append(f"{key!r}: {content.decode(errors='replace')}")
    return "\n".join(told)
