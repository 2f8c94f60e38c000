"""Looks at rendered manifests with the validators from PyPI; called by `check`.

    check-manifests.py FOLDER     the folder with base.yaml, autoscaling.yaml and compose.yaml
"""

import pathlib
import subprocess
import sys

import yaml

HERE = pathlib.Path(__file__).resolve().parent
SCRATCH = pathlib.Path(sys.argv[1])
WRONG = []


def told(what, complaints):
    """One finding."""
    if complaints:
        WRONG.append(what)
        print(f"WRONG: {what}")
        for complaint in complaints:
            print(f"    {complaint}")
    else:
        print(f"ok: {what}")


def documents(path):
    """The objects of a file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def lost(given, kept, at=""):
    """Keys and values of `given` that are not in `kept`: those that the types do not know."""
    if isinstance(given, dict) and isinstance(kept, dict):
        return [gone for key, value in given.items() for gone in lost(value, kept.get(key), f"{at}.{key}")]
    if isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        return [gone for n, pair in enumerate(zip(given, kept)) for gone in lost(*pair, f"{at}[{n}]")]
    return [] if given == kept else [f"{at}: {given!r} is not known"]


def schemas(path, name):
    """Kubernetes' own schemas, which know no KEDA."""
    own = [d for d in documents(path) if not d["apiVersion"].startswith("keda.sh/")]
    file = SCRATCH / f"own-{path.name}"
    file.write_text(yaml.safe_dump_all(own))
    validator = pathlib.Path(sys.executable).with_name("kubernetes-validate")
    run = subprocess.run([validator, "--strict", "--quiet", file], capture_output=True, text=True, check=False)
    told(f"{len(own)} objects of {name}, by kubernetes-validate", run.returncode and (run.stdout + run.stderr).splitlines())
    return run.returncode == 0


def keda(path):
    """KEDA's types."""
    from cloudcoil.models.keda import v1alpha1

    scaled = [d for d in documents(path) if d["apiVersion"].startswith("keda.sh/")]
    complaints = [] if scaled else ["there is no object of KEDA's"]
    for document in scaled:
        try:
            parsed = getattr(v1alpha1, document["kind"]).model_validate(document)
            complaints += lost(document, parsed.model_dump(mode="json", by_alias=True, exclude_none=True))
        except (AttributeError, ValueError) as error:
            complaints += str(error).splitlines()
    told(f"{len(scaled)} of KEDA's objects, by its types", complaints)


def pods(objects):
    """Every pod template with the name of what makes it."""
    for thing in objects:
        if thing["kind"] in ("Deployment", "StatefulSet"):
            yield thing["metadata"]["name"], thing["spec"]


def promises(objects):
    """What no schema says: that the objects fit one another, and that none has more rights than it needs."""
    complaints = []
    names = {(o["kind"], o["metadata"]["name"]) for o in objects}
    labels = {name: spec["template"]["metadata"]["labels"] for name, spec in pods(objects)}
    ports = {}
    for name, spec in pods(objects):
        pod = spec["template"]["spec"]
        if not pod["securityContext"].get("runAsNonRoot") or pod.get("automountServiceAccountToken") is not False:
            complaints.append(f"{name}: it may be root, or has a token of the cluster")
        if spec["selector"]["matchLabels"].items() - labels[name].items():
            complaints.append(f"{name}: its selector does not select its own pods")
        for container in pod["containers"]:
            context = container["securityContext"]
            if context["allowPrivilegeEscalation"] or not context["readOnlyRootFilesystem"]:
                complaints.append(f"{name}: more rights than it needs")
            if context["capabilities"]["drop"] != ["ALL"]:
                complaints.append(f"{name}: capabilities are left")
            if not {"livenessProbe", "readinessProbe", "resources"} <= container.keys():
                complaints.append(f"{name}: no probes or no resources")
            ports[name] = {port["name"] for port in container["ports"]}
            for source in container.get("envFrom", []):
                wanted = ("ConfigMap", source["configMapRef"]["name"]) if "configMapRef" in source else None
                if wanted and wanted not in names:
                    complaints.append(f"{name}: there is no {wanted}")
        for volume in pod.get("volumes", []):
            for source in volume.get("projected", {}).get("sources", []):
                if ("ConfigMap", source["configMap"]["name"]) not in names:
                    complaints.append(f"{name}: there is no ConfigMap {source['configMap']['name']}")
        if spec.get("replicas", 2) > 1 and ("PodDisruptionBudget", name) not in names:
            complaints.append(f"{name}: no disruption budget")
    for thing in objects:
        kind, name, spec = thing["kind"], thing["metadata"]["name"], thing.get("spec", {})
        selector = spec["selector"] if kind == "Service" else None
        selector = spec["selector"]["matchLabels"] if kind == "PodDisruptionBudget" else selector
        if selector and not any(selector.items() <= own.items() for own in labels.values()):
            complaints.append(f"{kind} {name} selects nothing")
        if kind == "Service" and any(port["targetPort"] not in ports[name] for port in spec["ports"]):
            complaints.append(f"Service {name}: no such port")
        if kind == "Ingress":
            for rule in spec["rules"]:
                for path in rule["http"]["paths"]:
                    if ("Service", path["backend"]["service"]["name"]) not in names:
                        complaints.append(f"Ingress {name}: no such service")
        if kind in ("HorizontalPodAutoscaler", "ScaledObject"):
            target = spec["scaleTargetRef"]
            found = [o for o in objects if (o["kind"], o["metadata"]["name"]) == (target["kind"], target["name"])]
            if not found:
                complaints.append(f"{kind} {name} scales nothing")
            elif "replicas" in found[0]["spec"]:
                complaints.append(f"{kind} {name}: the number of replicas is also fixed")
            for trigger in spec.get("triggers", []):
                if trigger["metadata"].keys() != {"serverAddress", "query", "threshold"}:
                    complaints.append(f"{kind} {name}: not what a prometheus trigger asks for")
        if kind == "Secret":
            complaints.append(f"Secret {name}: secrets do not belong here")
    roles = {"ingest", "transcode", "playback", "lake", "recommend", "sql"}
    running = set()
    for _, spec in pods(objects):
        for container in spec["template"]["spec"]["containers"]:
            arguments = container.get("args", [])
            if "--roles" in arguments:
                running |= set(arguments[arguments.index("--roles") + 1].split(","))
    if running != roles:
        complaints.append(f"roles: {sorted(running)} instead of {sorted(roles)}")
    return complaints


def compose(path):
    """The specification's own types, and what they do not say."""
    import compose_spec

    text = path.read_text()
    try:
        compose_spec.PyCompose.from_yaml(text).validate()
        complaints = []
    except Exception as error:  # the binding raises several kinds
        complaints = str(error).splitlines()
    told("compose file, by compose-spec", complaints)
    services = yaml.safe_load(text)["services"]
    complaints = []
    running = [" ".join(s["command"]) for s in services.values() if s.get("image") == "millrace"]
    if sorted(command.split("--roles ")[1] for command in running) != sorted(
        ["ingest", "transcode", "playback", "lake", "recommend", "sql"]
    ):
        complaints.append(f"roles: {running}")
    for name, service in services.items():
        tag = service.get("image", "").rpartition(":")[2]
        if service.get("image") != "millrace" and "build" not in service and (not tag or tag in ("latest", "stable")):
            complaints.append(f"{name}: an image without a version")
        if "ports" in service and name != "edge":
            complaints.append(f"{name} is open to the world")
    told("compose file: one service a role, versions, nothing open but the edge", complaints)


for built in ("base", "autoscaling"):
    path = SCRATCH / f"{built}.yaml"
    if path.exists():
        if schemas(path, f"kubernetes/{built}"):
            told(f"kubernetes/{built} fits together", promises(documents(path)))
if (SCRATCH / "files.yaml").exists():
    schemas(SCRATCH / "files.yaml", "kubernetes/base as it lies")
schemas(HERE / "kubernetes/secret.example.yaml", "the example secret")
if (SCRATCH / "autoscaling.yaml").exists():
    keda(SCRATCH / "autoscaling.yaml")
if (SCRATCH / "compose.yaml").exists():
    compose(SCRATCH / "compose.yaml")
sys.exit(bool(WRONG))
