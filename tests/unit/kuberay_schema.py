"""What KubeRay 1.7 takes: those fields of RayCluster and RayJob that our file may use.

The definitions themselves are many thousand lines, most of them pod templates, which are checked
with Kubernetes' own schema.
"""

_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_COUNT = {"type": "integer", "minimum": 0}


def _fields(required, **properties):
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": properties,
    }


_POD_TEMPLATE = {"type": "object", "required": ["spec"]}
_METADATA = _fields(
    ["name"],
    name={"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63},
    namespace={"type": "string"},
    labels=_TEXTS,
    annotations=_TEXTS,
)
_CLUSTER = _fields(
    ["headGroupSpec"],
    rayVersion={"type": "string"},
    authOptions=_fields([], mode={"enum": ["disabled", "token"]}, secretName={"type": "string"}),
    enableInTreeAutoscaling={"type": "boolean"},
    autoscalerOptions=_fields(
        [],
        version={"enum": ["v1", "v2"]},
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
        idleTimeoutSeconds=_COUNT,
        image={"type": "string"},
        imagePullPolicy={"type": "string"},
        resources={"type": "object"},
        env={"type": "array"},
    ),
    headGroupSpec=_fields(
        ["template"],
        rayStartParams=_TEXTS,
        serviceType={"type": "string"},
        template=_POD_TEMPLATE,
    ),
    workerGroupSpecs={
        "type": "array",
        "items": _fields(
            ["groupName", "minReplicas", "maxReplicas", "template"],
            groupName={"type": "string"},
            replicas=_COUNT,
            minReplicas=_COUNT,
            maxReplicas=_COUNT,
            numOfHosts=_COUNT,
            rayStartParams=_TEXTS,
            template=_POD_TEMPLATE,
        ),
    },
)
_JOB = _fields(
    [],
    entrypoint={"type": "string"},
    clusterSelector=_TEXTS,
    rayClusterSpec=_CLUSTER,
    runtimeEnvYAML={"type": "string"},
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    backoffLimit=_COUNT,
    activeDeadlineSeconds={"type": "integer", "minimum": 1},
    shutdownAfterJobFinishes={"type": "boolean"},
    ttlSecondsAfterFinished=_COUNT,
    suspend={"type": "boolean"},
)


def schema_of(kind):
    """Return the JSON schema of a resource: RayCluster or RayJob."""
    spec = {"RayCluster": _CLUSTER, "RayJob": _JOB}[kind]
    return _fields(
        ["apiVersion", "kind", "metadata", "spec"],
        apiVersion={"const": "ray.io/v1"},
        kind={"const": kind},
        metadata=_METADATA,
        spec=spec,
    )
