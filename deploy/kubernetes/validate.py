"""Renders every overlay with `kubectl kustomize` and checks the result; validate.sh creates the environment for this.

Built-in kinds are validated against the schemas of Kubernetes; custom kinds are checked for dangling references only.
For all kinds it checks what no schema covers: selectors, ports, keys of secrets, and the hardening of containers.
"""

import copy
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import kubernetes_validate
import yaml

HERE = Path(__file__).resolve().parent
RULES = HERE.parent / "prometheus" / "rules" / "tasker.yml"
# the oldest release with a sleep before SIGTERM, and the newest known
VERSIONS = ["1.30", kubernetes_validate.latest_version()]
CUSTOM_GROUPS = ("keda.sh/", "monitoring.coreos.com/")
WORKLOADS = ("Deployment", "StatefulSet", "Job")
# the Deployments that an overlay is named after; kustomize ignores a patch whose target is missing
PROMISED = {"orchestrator": "orchestrator"}


def main():
    problems = check_secrets_sample() + check_rules()
    overlays = sorted(path.parent for path in HERE.glob("overlays/*/kustomization.yaml"))
    assert overlays, "no overlays found"
    with tempfile.TemporaryDirectory() as folder:
        root = legible(Path(folder))
        for overlay in overlays:
            objects = render(root / overlay.relative_to(HERE))
            found = check_schemas(objects) + check_references(objects) + check_hardening(objects)
            promised = PROMISED.get(overlay.name)
            if promised and not find(objects, "Deployment", promised):
                found.append(f"has no Deployment {promised}")
            problems += [f"overlays/{overlay.name}: {problem}" for problem in found]
            print(f"overlays/{overlay.name}: {len(objects)} objects, {len(found)} problems")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


# ---- rendering -------------------------------------------------------------------------------------------------------


def legible(folder):
    """Returns the manifests' folder, or a converted copy for kubectl before 1.21, which uses older names of some fields."""
    answer = subprocess.run(
        ["kubectl", "version", "--client", "-o", "json"], capture_output=True, check=True, text=True
    )
    version = json.loads(answer.stdout)["clientVersion"]
    print(f"kubectl {version['gitVersion']}")
    if (int(version["major"]), int(version["minor"].rstrip("+"))) >= (1, 21):
        return HERE
    root = folder / "kubernetes"
    shutil.copytree(HERE, root)
    for path in root.rglob("kustomization.yaml"):
        content = yaml.safe_load(path.read_text())
        resources = content.pop("resources", [])
        content["bases"] = [name for name in resources if (path.parent / name).is_dir()]
        content["resources"] = [name for name in resources if (path.parent / name).is_file()]
        patches = content.pop("patches", [])
        content["patchesStrategicMerge"] = [patch["path"] for patch in patches if "target" not in patch]
        content["patchesJson6902"] = [patch for patch in patches if "target" in patch]
        path.write_text(yaml.safe_dump(content))
    return root


def render(overlay):
    answer = subprocess.run(["kubectl", "kustomize", str(overlay)], capture_output=True, text=True)
    if answer.returncode:
        sys.exit(f"{overlay.name} cannot be rendered: {answer.stderr}")
    if answer.stderr:
        sys.exit(f"{overlay.name} is rendered with complaints: {answer.stderr}")
    return [each for each in yaml.safe_load_all(answer.stdout) if each]


# ---- schemas ---------------------------------------------------------------------------------------------------------


def check_schemas(objects):
    problems = []
    for each in objects:
        if each["apiVersion"].startswith(CUSTOM_GROUPS):
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(copy.deepcopy(each), version, strict=True)
            except kubernetes_validate.ValidationError as error:
                place = ".".join(str(part) for part in error.path)
                problems.append(f"{label(each)}: Kubernetes {version}: {place}: {error.message}")
            except kubernetes_validate.SchemaNotFoundError as error:
                problems.append(f"{label(each)}: no schema of Kubernetes {version}: {error}")
    return problems


# ---- what refers to what ---------------------------------------------------------------------------------------------


def check_references(objects):
    names = {(each["kind"], each["metadata"]["name"]) for each in objects}
    problems = []
    if len(names) != len(objects):
        problems.append("two objects of the same kind have the same name")
    for each in objects:
        namespace = each["metadata"].get("namespace")
        if each["kind"] != "Namespace" and namespace != "tasker":
            problems.append(f"{label(each)}: is in the namespace {namespace}")
        check = CHECKS.get(each["kind"])
        problems += [f"{label(each)}: {problem}" for problem in (check(each, objects) if check else [])]
    return problems


def check_workload(workload, objects):
    template = workload["spec"]["template"]
    spec = template["spec"]
    selector = workload["spec"].get("selector")
    if selector and not selects(selector, template["metadata"]["labels"]):
        yield "does not select its own pods"
    for constraint in spec.get("topologySpreadConstraints", []):
        if not selects(constraint["labelSelector"], template["metadata"]["labels"]):
            yield "has a topology spread constraint for other pods"
    account = spec.get("serviceAccountName")
    if account and not find(objects, "ServiceAccount", account):
        yield f"references the missing service account {account}"
    for volume in spec.get("volumes", []):
        yield from check_secrets(volume)
    for container in spec["containers"]:
        for source in container.get("envFrom", []):
            if not find(objects, "ConfigMap", source["configMapRef"]["name"]):
                yield f"references the missing {source}"
        mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
        templates = workload["spec"].get("volumeClaimTemplates", [])
        if mounts != {each["name"] for each in spec.get("volumes", []) + [t["metadata"] for t in templates]}:
            yield "mounts volumes that it does not define, or defines volumes that it does not mount"
        yield from check_files(workload, container, spec, objects)
        yield from check_probes(container)
        yield from check_metrics_port(container)
        if container["image"].partition(":")[2] in ("", "latest"):
            yield f"the image {container['image']} has no version"
    if grace_needed(workload) >= spec.get("terminationGracePeriodSeconds", 30):
        yield "is killed before SHUTDOWN_TIMEOUT has passed"


def check_secrets(volume):
    sources = [source["secret"] for source in volume.get("projected", {}).get("sources", [])]
    if "secret" in volume:
        sources.append({"name": volume["secret"]["secretName"], "items": volume["secret"]["items"]})
    for source in sources:
        for item in source["items"]:
            if item["key"] not in SECRETS.get(source["name"], {}):
                yield f"secrets.sample.yaml has no key {item['key']} of {source['name']}"


def check_files(workload, container, spec, objects):
    """Checks that each NAME_FILE of a container names a file in a mounted volume."""
    values = {each["name"]: each["value"] for each in container.get("env", [])}
    for source in container.get("envFrom", []):
        values.update(find(objects, "ConfigMap", source["configMapRef"]["name"])["data"])
    brought = set()
    for volume in spec.get("volumes", []):
        mount = next(each for each in container["volumeMounts"] if each["name"] == volume["name"])
        sources = [source["secret"] for source in volume.get("projected", {}).get("sources", [])]
        for source in [*sources, volume.get("secret", {})]:
            brought |= {f"{mount['mountPath']}/{item['path']}" for item in source.get("items", [])}
    for name, value in values.items():
        if name.endswith("_FILE") and value not in brought:
            yield f"{name} names {value}, which no volume provides"


def check_probes(container):
    ports = {port["name"] for port in container.get("ports", [])}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        for way in ("httpGet", "tcpSocket"):
            port = container.get(probe, {}).get(way, {}).get("port")
            if port is not None and port not in ports:
                yield f"{probe} uses the port {port}, which the container does not have"


def check_metrics_port(container):
    values = {each["name"]: each["value"] for each in container.get("env", [])}
    ports = {port["name"]: str(port["containerPort"]) for port in container.get("ports", [])}
    if "METRICS_PORT" in values and ports.get("metrics") != values["METRICS_PORT"]:
        yield f"METRICS_PORT is {values['METRICS_PORT']}, but the port metrics is {ports.get('metrics')}"


def grace_needed(workload):
    """Returns the maximum number of seconds from the stop of a pod until its process exits by itself."""
    container = workload["spec"]["template"]["spec"]["containers"][0]
    values = {each["name"]: each["value"] for each in container.get("env", [])}
    timeout = int(values.get("SHUTDOWN_TIMEOUT", "0s").removesuffix("s"))
    before = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    flush = 20 if values.get("DEPLOYMENT_MODE") == "no-migrate" else 0
    return before + timeout + flush


def check_service(service, objects):
    ports = set()
    for workload in workloads(objects):
        template = workload["spec"]["template"]
        if selects({"matchLabels": service["spec"]["selector"]}, template["metadata"]["labels"]):
            ports |= {port["name"] for each in template["spec"]["containers"] for port in each.get("ports", [])}
    for port in service["spec"]["ports"]:
        if port["targetPort"] not in ports:
            yield f"no pod has the port {port['targetPort']}"


def check_selector(each, objects):
    """Checks that a budget or policy selects pods; otherwise it has no effect."""
    selector = each["spec"].get("selector", each["spec"].get("podSelector"))
    if not any(selects(selector, pods(workload)) for workload in workloads(objects)):
        yield "selects no pods"


def check_scaled(scaled, objects):
    target = scaled["spec"]["scaleTargetRef"]["name"]
    workload = find(objects, "Deployment", target)
    if not workload:
        yield f"references the missing Deployment {target}"
        return
    if "replicas" in workload["spec"]:
        yield f"{target} has a fixed number of replicas, which each apply would restore"
    values = {each["name"]: each["value"] for each in workload["spec"]["template"]["spec"]["containers"][0]["env"]}
    lists = []
    for trigger in scaled["spec"]["triggers"]:
        if trigger["type"] == "redis":
            lists.append(trigger["metadata"]["listName"])
            name = trigger["authenticationRef"]["name"]
            if not find(objects, "TriggerAuthentication", name):
                yield f"references the missing TriggerAuthentication {name}"
        elif f'job="{target}"' not in trigger["metadata"]["query"]:
            yield "queries the slots of other workers"
    if lists != [f"rq:queue:{queue}" for queue in values["TASK_QUEUES"].split(",")]:
        yield "does not scale on exactly the queues that its workers serve"
    if not 0 < scaled["spec"]["minReplicaCount"] <= scaled["spec"]["fallback"]["replicas"]:
        yield "has a fallback below its minimum number of workers"


def check_authentication(authentication, objects):
    for reference in authentication["spec"]["secretTargetRef"]:
        if reference["key"] not in SECRETS.get(reference["name"], {}):
            yield f"secrets.sample.yaml has no key {reference['key']} of {reference['name']}"


def check_monitor(monitor, objects):
    spec = monitor["spec"]
    if monitor["kind"] == "ServiceMonitor":
        candidates = [each for each in objects if each["kind"] == "Service"]
        chosen = [each for each in candidates if selects(spec["selector"], each["metadata"].get("labels", {}))]
        targets = {port["name"]: port["targetPort"] for each in chosen for port in each["spec"]["ports"]}
        labels = [each["metadata"]["labels"] for each in chosen]
        selectors = [{"matchLabels": each["spec"]["selector"]} for each in chosen]
        scraped = [each for each in workloads(objects) if any(selects(one, pods(each)) for one in selectors)]
    else:
        chosen = scraped = [each for each in workloads(objects) if selects(spec["selector"], pods(each))]
        targets = {name: name for each in chosen for name in container_ports(each)}
        labels = [pods(each) for each in chosen]
    if not chosen or any(spec["jobLabel"] not in each for each in labels):
        yield "selects no objects, or objects without the job label"
    for endpoint in spec.get("endpoints", spec.get("podMetricsEndpoints")):
        if endpoint["port"] not in targets:
            yield f"references the missing port {endpoint['port']}"
            continue
        for workload in scraped:
            number = container_ports(workload).get(targets[endpoint["port"]])
            if number not in let_in(workload, "monitoring", objects):
                yield f"no network policy lets Prometheus in at port {number} of {workload['metadata']['name']}"


def let_in(workload, namespace, objects):
    """Returns the ports of a workload that network policies open to pods of a namespace."""
    ports = set()
    for policy in objects:
        if policy["kind"] == "NetworkPolicy" and selects(policy["spec"]["podSelector"], pods(workload)):
            for rule in policy["spec"].get("ingress", []):
                wanted = [each.get("namespaceSelector", {}).get("matchLabels", {}) for each in rule.get("from", [])]
                if {"kubernetes.io/metadata.name": namespace} in wanted:
                    ports |= {port["port"] for port in rule["ports"]}
    return ports


CHECKS = {
    "Deployment": check_workload,
    "StatefulSet": check_workload,
    "Job": check_workload,
    "Service": check_service,
    "PodDisruptionBudget": check_selector,
    "NetworkPolicy": check_selector,
    "ScaledObject": check_scaled,
    "TriggerAuthentication": check_authentication,
    "ServiceMonitor": check_monitor,
    "PodMonitor": check_monitor,
}


# ---- hardening of every pod ------------------------------------------------------------------------------------------


def check_hardening(objects):
    problems = []
    for workload in workloads(objects):
        spec = workload["spec"]["template"]["spec"]
        pod = spec.get("securityContext", {})
        wrong = []
        if spec.get("automountServiceAccountToken") is not False:
            wrong.append("mounts a service account token")
        if spec.get("enableServiceLinks") is not False:
            wrong.append("gets variables from Services")
        if pod.get("runAsNonRoot") is not True or not pod.get("runAsUser"):
            wrong.append("may run as root")
        if pod.get("seccompProfile") != {"type": "RuntimeDefault"}:
            wrong.append("has no seccomp profile")
        for container in spec["containers"]:
            context = container.get("securityContext", {})
            if context.get("readOnlyRootFilesystem") is not True:
                wrong.append("has a writable root file system")
            if context.get("allowPrivilegeEscalation") is not False or context.get("capabilities") != {"drop": ["ALL"]}:
                wrong.append("keeps privileges")
            resources = container.get("resources", {})
            if not {"cpu", "memory"} <= resources.get("requests", {}).keys() or "memory" not in resources.get("limits", {}):
                wrong.append("has no memory limit, or no CPU and memory requests")
        if workload["kind"] == "Deployment" and "readinessProbe" not in spec["containers"][0]:
            wrong.append("has no readiness probe")
        problems += [f"{label(workload)}: {each}" for each in wrong]
    return problems


# ---- beside the overlays ---------------------------------------------------------------------------------------------


def read_secrets_sample():
    documents = yaml.safe_load_all((HERE / "secrets.sample.yaml").read_text())
    return {each["metadata"]["name"]: each for each in documents}


SAMPLE = read_secrets_sample()
SECRETS = {name: each["stringData"] for name, each in SAMPLE.items()}


def check_secrets_sample():
    """Checks that the sample cannot be applied unchanged, which would set known passwords in a cluster."""
    return [
        f"secrets.sample.yaml: {name} could be applied unchanged"
        for name, each in SAMPLE.items()
        if "<" not in each["metadata"].get("namespace", "")
        or not all("<" in value for value in each["stringData"].values())
    ]


def check_rules():
    custom = yaml.safe_load((HERE / "extras" / "monitoring" / "rules.yaml").read_text())
    if custom["spec"] != yaml.safe_load(RULES.read_text()):
        return ["extras/monitoring/rules.yaml differs from prometheus/rules/tasker.yml: run update-rules.sh"]
    return []


# ---- helpers ---------------------------------------------------------------------------------------------------------


def label(each):
    return f"{each['kind']} {each['metadata']['name']}"


def find(objects, kind, name):
    return next((each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)), None)


def workloads(objects):
    return [each for each in objects if each["kind"] in WORKLOADS]


def pods(workload):
    return workload["spec"]["template"]["metadata"]["labels"]


def container_ports(workload):
    containers = workload["spec"]["template"]["spec"]["containers"]
    return {port["name"]: port["containerPort"] for each in containers for port in each.get("ports", [])}


def selects(selector, labels):
    matches = selector.get("matchLabels", {}).items() <= labels.items()
    return matches and all(
        expression["operator"] == "In" and labels.get(expression["key"]) in expression["values"]
        for expression in selector.get("matchExpressions", [])
    )


if __name__ == "__main__":
    sys.exit(main())
