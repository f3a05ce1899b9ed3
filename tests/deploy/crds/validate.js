// Reads custom resources from standard input, as a JSON array, and validates them against their published schemas.
// Prints one line per error.
import { readFileSync } from "node:fs";

const PACKAGES = {
  "gateway.networking.k8s.io/v1": "gateway-api",
  "monitoring.coreos.com/v1": "prometheus-operator",
};

for (const object of JSON.parse(readFileSync(0, "utf8"))) {
  const { apiVersion, kind } = object;
  const models = await import(`@kubernetes-models/${PACKAGES[apiVersion]}/${apiVersion}/${kind}`);
  const fault = (candidate) => {
    try {
      new models[kind](candidate).validate();
    } catch (error) {
      return error.message;
    }
  };
  const report = (text) => console.log(`${kind} ${object.metadata.name}: ${text}`);

  const wrong = fault(object);
  if (wrong) report(wrong);
  // The schemas accept unknown fields, which a cluster drops silently. To detect one, put nonsense into each field:
  // only in a known field is that an error.
  for (const path of paths(object.spec, ["spec"])) {
    if (!fault(nonsense(object, path))) report(`${path.join(".")} is not a field`);
  }
}

function* paths(value, path) {
  if (typeof value !== "object") return;
  for (const key of Object.keys(value)) {
    yield [...path, key];
    yield* paths(value[key], [...path, key]);
  }
}

function nonsense(object, path) {
  const copy = structuredClone(object);
  const parent = path.slice(0, -1).reduce((value, key) => value[key], copy);
  parent[path.at(-1)] = () => {};
  return copy;
}
