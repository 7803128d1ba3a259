// Kubernetes manifests as a cluster would get them: in comes a folder of deploy/kubernetes/, out go its objects, rendered by the
// real kubectl. Says why where there is none.

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseAllDocuments } from 'yaml';

export const manifests = fileURLToPath(new URL('../../deploy/kubernetes/', import.meta.url));
const unpacked = fileURLToPath(new URL('node_modules/.bin/kubectl', import.meta.url));

const kubectl = ['kubectl', unpacked].find(
  (program) => spawnSync(program, ['version', '--client'], { stdio: 'ignore' }).status === 0,
);
/** For the option `skip` of a test. */
export const noKubectl =
  kubectl === undefined && 'there is no kubectl, and `node scripts/setup.mjs --test` could not get one';

/** An object of Kubernetes; what a test looks at in it, it knows. */
// biome-ignore lint/suspicious/noExplicitAny: the types would be those of all kinds, which the schemas check
export type Manifest = any;

/** @param folder below deploy/kubernetes/ */
export function render(folder: string): Manifest[] {
  const { status, stdout, stderr } = spawnSync(kubectl!, ['kustomize', folder], { cwd: manifests, encoding: 'utf8' });
  if (status !== 0) throw new Error(`kubectl kustomize ${folder}: ${stderr}`);
  return parseAllDocuments(stdout).map((document) => document.toJS());
}

/** The one object of that kind and name. */
export function theOne(objects: Manifest[], kind: string, name?: string): Manifest {
  const found = objects.filter(
    (object) => object.kind === kind && (name ?? object.metadata.name) === object.metadata.name,
  );
  if (found.length !== 1) throw new Error(`${found.length} objects are ${kind} ${name ?? ''}`);
  return found[0];
}
