// deploy/kubernetes as a cluster gets it: every folder rendered by the real kubectl, valid by the schemas of Kubernetes and of the
// Prometheus operator, and each promise of its README held against what was rendered.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type GivenFlags, readConfig } from '../../src/config.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { type Manifest, manifests, noKubectl, render, theOne } from './kustomize.ts';

const noSchemas =
  !existsSync(new URL('node_modules/kubernetes-models', import.meta.url)) &&
  'the schemas are not here: node scripts/setup.mjs --test';
const readme = readFileSync(`${manifests}README.md`, 'utf8');
const dockerfile = textOf('Dockerfile');
/** Components are rendered as part of who uses them. */
const folders = globSync('**/kustomization.yaml', { cwd: manifests })
  .filter((path) => !/^kind: Component$/m.test(readFileSync(manifests + path, 'utf8')))
  .map(dirname);
/** s in which `crossfade drain` closes all, however many they are, where no rate is given. */
const standardSeconds = Number(/--drain-rate.*\| all within (\d+) s \|/.exec(textOf('docs/settings.md'))![1]);
/** s until the last event is shown, and the last client that does not answer is cut off. */
const slowSeconds = 3;
/** s; `serve` gives up its end after 9.5 s. */
const endSeconds = 10;

describe('deploy/kubernetes', { skip: noKubectl }, () => {
  for (const folder of folders) {
    test(`${folder} renders, and every object is valid by its schema`, { skip: noSchemas }, async () => {
      const objects = render(folder);
      assert.notEqual(objects.length, 0);
      for (const object of objects) (await modelOf(object)).validate();
    });
  }

  test('no field is misspelt: each is one that its kind has', { skip: noSchemas }, (t) => {
    assert.equal(misspelt(t, folders.flatMap(render)), '');
  });

  test('a field that is misspelt is named', { skip: noSchemas }, (t) => {
    const deployment = theOne(render('edge'), 'Deployment');
    deployment.spec.template.spec.containers[0].livenesProbe = {};
    assert.match(misspelt(t, [deployment]), /'"livenesProbe"' does not exist in type 'IContainer'/);
  });

  test('the schemas refuse what is wrong', { skip: noSchemas }, async () => {
    const deployment = theOne(render('edge'), 'Deployment');
    deployment.spec.template.spec.containers[0].livenessProbe.periodSeconds = 'often';
    await assert.rejects(async () => (await modelOf(deployment)).validate());
  });

  if (noKubectl) return;
  const example = render('example');
  const backend = theOne(example, 'Deployment', 'support-center');
  const backendPod = backend.spec.template.spec;
  const edge = theOne(example, 'Deployment', 'crossfade-edge');
  const edgePod = edge.spec.template.spec;
  const sidecar = backendPod.initContainers[0];
  const edgeContainer = edgePod.containers[0];
  const roles = [
    { role: 'the sidecar', pod: backendPod, container: sidecar },
    { role: 'the edge', pod: edgePod, container: edgeContainer },
  ];

  test('the component adds a native sidecar to a Deployment, and changes nothing else of it', () => {
    const before = theOne(render('example/backend'), 'Deployment').spec;
    const after = structuredClone(backend.spec);
    assert.deepEqual([sidecar.name, sidecar.restartPolicy], ['crossfade', 'Always']);
    assert.equal(after.template.spec.containers[0].env[0].value, `http://${variableOf(sidecar, 'CROSSFADE_LISTEN')}`);
    after.template.spec.containers[0].env = before.template.spec.containers[0].env;
    for (const added of ['initContainers', 'volumes', 'terminationGracePeriodSeconds'])
      delete after.template.spec[added];
    delete after.template.metadata.labels.crossfade;
    assert.deepEqual(after, before);
  });

  test('a Deployment without the label gets no sidecar', () => {
    assert.equal(edgePod.initContainers, undefined);
  });

  for (const { role, pod, container } of roles) {
    test(`${role} has the least rights`, () => {
      const { securityContext: own } = container;
      const effective = { ...(role === 'the edge' ? pod.securityContext : {}), ...own };
      assert.deepEqual(effective, {
        runAsNonRoot: true,
        runAsUser: 10001,
        runAsGroup: 10001,
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
        seccompProfile: { type: 'RuntimeDefault' },
      });
      assert.match(dockerfile, /^USER 10001:10001$/m);
      for (const key of ['hostNetwork', 'hostPID', 'hostIPC', 'shareProcessNamespace']) assert.ok(!pod[key], key);
    });

    test(`${role} has no token of a service account`, () => {
      const path = '/var/run/secrets/kubernetes.io/serviceaccount';
      const covered = container.volumeMounts.find(({ mountPath }: Manifest) => mountPath === path);
      const volume = pod.volumes.find(({ name }: Manifest) => name === covered?.name);
      assert.ok(pod.automountServiceAccountToken === false || volume?.emptyDir !== undefined);
      // The backend may need its own.
      if (role === 'the sidecar') assert.ok(volume?.emptyDir !== undefined);
    });

    test(`${role} asks for memory and CPU, and its CPU has no limit`, () => {
      const { requests, limits } = container.resources;
      assert.deepEqual([Object.keys(requests), Object.keys(limits)], [['cpu', 'memory'], ['memory']]);
    });

    test(`${role} is started, watched and asked by its health port`, () => {
      const port = Number(variableOf(container, 'CROSSFADE_HEALTH').split(':')[1]);
      const probes = [container.startupProbe, container.livenessProbe, container.readinessProbe];
      for (const { httpGet } of probes) assert.equal(httpGet.port, port);
      const paths = probes.map(({ httpGet }) => httpGet.path);
      // Who is not ready takes its pod out of the Service: for a sidecar that would be the backend.
      assert.deepEqual(paths, ['/startupz', '/livez', role === 'the edge' ? '/readyz' : '/livez']);
      assert.ok(readme.includes('every second, 30 times'));
      assert.deepEqual([container.startupProbe.periodSeconds, container.startupProbe.failureThreshold], [1, 30]);
    });

    test(`${role} starts with its arguments, variables and secrets`, (t) => {
      const config = configOf(t, container, pod, example);
      assert.deepEqual(config.bridges, ['http://signalr-service:5000']);
      assert.equal(config.redis, 'redis://redis:6379');
      assert.deepEqual(
        [config.listen, config.edge].map((side) => side?.port),
        role === 'the edge' ? [undefined, 7401] : [7400, undefined],
      );
      assert.deepEqual([config.admin, config.health], [anyHost(7402), anyHost(7403)]);
      assert.equal(config.adminToken, 'text of admin-token');
      assert.equal(config.apiKey, 'text of internal-api-key');
      if (role === 'the edge') assert.equal(config.jwtSecret, 'text of jwt-secret');
    });
  }

  test('only the backend of the same pod reaches the sidecar’s calls', () => {
    assert.equal(variableOf(sidecar, 'CROSSFADE_LISTEN'), '127.0.0.1:7400');
  });

  test('every port is a number, and one that a container has', () => {
    const declared = [sidecar, edgeContainer].flatMap(({ ports }) =>
      ports.map(({ containerPort }: Manifest) => containerPort),
    );
    const own = new Set([...declared, 7400]);
    const elsewhere = new Set([53, 6379, 5000, 80, 8000]);
    for (const object of example) {
      for (const [path, value] of portsIn(object)) {
        assert.ok(Number.isInteger(value), `${path} is ${value}`);
        assert.ok(own.has(Number(value)) || elsewhere.has(Number(value)), `${path} is ${value}`);
      }
    }
    for (const { container } of roles) for (const port of container.ports) assert.equal(port.name, undefined);
  });

  test('the sidecar has time to end after the backend', () => {
    /** As Kubernetes gives it by itself. */
    const ownSeconds = 30;
    const grace = backendPod.terminationGracePeriodSeconds;
    assert.ok(grace >= ownSeconds + endSeconds, `${grace} s`);
    assert.deepEqual(sidecar.lifecycle.preStop.exec.command, ['sleep', '5']);
    assert.ok(
      readme.includes(
        `${grace} s for the whole pod (${ownSeconds} for the backend; more: yours + ${grace - ownSeconds})`,
      ),
    );
  });

  test('the edge has time to drain by its rate', (t) => {
    const [shell, , script] = edgeContainer.lifecycle.preStop.exec.command;
    const [, sleep] = /^sleep (\d+) && exec crossfade drain$/.exec(script)!;
    const { drainRate } = configOf(t, edgeContainer, edgePod, example);
    const grace = edgePod.terminationGracePeriodSeconds;
    assert.deepEqual([shell, drainRate], ['sh', undefined], 'with a rate of its own the grace period is another');
    assert.ok(grace >= Number(sleep) + standardSeconds + slowSeconds + endSeconds, `${grace} s`);
    assert.ok(readme.includes(`${sleep} s until nobody is sent there, then \`crossfade drain\`; ${grace} s in all`));
  });

  test('edges are rolled and evicted one at a time, and never one less', () => {
    const { strategy, minReadySeconds, replicas } = edge.spec;
    assert.deepEqual(strategy.rollingUpdate, { maxSurge: 1, maxUnavailable: 0 });
    assert.ok(readme.includes(`one more pod, never one less; ${minReadySeconds} s between two`));
    const { spec: budget } = theOne(example, 'PodDisruptionBudget');
    assert.deepEqual([budget.maxUnavailable, budget.selector], [1, edge.spec.selector]);
    assert.equal(replicas, undefined, 'the autoscaler’s number is not set back by each apply');
  });

  test('the autoscaler counts connections, by a metric that there is', () => {
    const { spec } = theOne(example, 'HorizontalPodAutoscaler');
    assert.deepEqual([spec.scaleTargetRef.kind, spec.scaleTargetRef.name], ['Deployment', edge.metadata.name]);
    const { metric, target } = spec.metrics[0].pods;
    assert.notEqual(createMetrics().registry.getSingleMetric(metric.name), undefined, metric.name);
    const { minReplicas, maxReplicas } = spec;
    const promise = `${target.averageValue} connections each, ${minReplicas} to ${maxReplicas} replicas`;
    assert.ok(readme.includes(promise), promise);
    const adapter = readFileSync(`${manifests}../prometheus/adapter-values.yaml`, 'utf8');
    assert.ok(adapter.includes(`seriesQuery: ${metric.name}{`));
  });

  test('the admin port of an edge is for replicas and Prometheus alone', () => {
    const { spec } = theOne(example, 'NetworkPolicy');
    assert.deepEqual(spec.podSelector, edge.spec.selector);
    assert.deepEqual(spec.policyTypes, ['Ingress', 'Egress']);
    const rulesFor = (port: number) =>
      spec.ingress.filter(({ ports }: Manifest) => ports.some((each: Manifest) => each.port === port));
    assert.deepEqual(
      rulesFor(7402).map(({ from }: Manifest) => from.map(({ podSelector }: Manifest) => podSelector)),
      [
        [{ matchExpressions: [{ key: 'crossfade', operator: 'Exists' }] }],
        [{ matchLabels: { 'app.kubernetes.io/name': 'prometheus' } }],
      ],
    );
    assert.equal(rulesFor(7401).length, 1);
    const bridge = new URL(theOne(example, 'ConfigMap').data.CROSSFADE_BRIDGE);
    const reached = spec.egress.flatMap(({ ports }: Manifest) => ports.map(({ port }: Manifest) => port));
    for (const port of [53, 6379, Number(bridge.port), 7402]) assert.ok(reached.includes(port), `${port}`);
    for (const { template } of [backend.spec, edge.spec]) assert.ok('crossfade' in template.metadata.labels);
  });

  test('the Service leads clients to the edge, and nobody to its admin port', () => {
    const { spec } = theOne(example, 'Service', 'crossfade-edge');
    assert.deepEqual([spec.selector, spec.ports], [edge.spec.selector.matchLabels, [{ port: 7401, targetPort: 7401 }]]);
  });

  test('Prometheus scrapes both roles under the name that rules and dashboard use, with the token', () => {
    const { spec } = theOne(example, 'PodMonitor');
    assert.deepEqual(spec.selector, { matchExpressions: [{ key: 'crossfade', operator: 'Exists' }] });
    const [{ portNumber, authorization, relabelings }] = spec.podMetricsEndpoints;
    assert.equal(portNumber, Number(variableOf(edgeContainer, 'CROSSFADE_ADMIN').split(':')[1]));
    assert.deepEqual(authorization.credentials, { name: 'crossfade', key: 'admin-token' });
    const job = relabelings.find(({ targetLabel }: Manifest) => targetLabel === 'job').replacement;
    assert.match(
      readFileSync(`${manifests}../prometheus/prometheus.yml`, 'utf8'),
      new RegExp(`job_name: ${job}$`, 'm'),
    );
  });

  test('no secret stands in a manifest, and the README makes each that is referred to', () => {
    const secrets = new Set<string>();
    for (const { pod, container } of roles) {
      const files = pod.volumes.flatMap(({ secret }: Manifest) => secret?.items ?? []);
      for (const { key } of files) secrets.add(key);
      for (const { name, value, valueFrom } of container.env) {
        if (name.endsWith('_FILE'))
          assert.ok(
            files.some(({ path }: Manifest) => value === `/etc/crossfade/${path}`),
            value,
          );
        // Not in the environment either.
        assert.ok(valueFrom === undefined && !/KEY$|TOKEN$|SECRET$|REDIS_URL$/.test(name), name);
      }
    }
    assert.equal(example.filter(({ kind }) => kind === 'Secret').length, 0);
    for (const key of secrets) assert.ok(readme.includes(`--from-literal=${key}=`), key);
  });
});

function textOf(path: string): string {
  return readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8');
}

const anyHost = (port: number) => ({ host: '0.0.0.0', port });

/** The module of an object's kind. */
function moduleOf({ apiVersion, kind }: Manifest): string {
  const isOperators = apiVersion.startsWith('monitoring.coreos.com/');
  return `${isOperators ? '@kubernetes-models/prometheus-operator' : 'kubernetes-models'}/${apiVersion}/${kind}`;
}

/** An object as its class has it, which can validate it. */
async function modelOf(object: Manifest): Promise<{ validate(): void }> {
  // By a name that the compiler cannot follow: it checks the types also where the schemas are not installed.
  const { [object.kind]: Model } = await import(moduleOf(object));
  return new Model(object);
}

/** What the compiler says of fields that no kind has, which the schemas let pass; empty where there are none. */
function misspelt(t: TestContext, objects: Manifest[]): string {
  const dir = mkdtempSync(join(tmpdir(), 'crossfade-manifests-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  symlinkSync(fileURLToPath(new URL('node_modules', import.meta.url)), join(dir, 'node_modules'));
  const lines = objects.map((object, index) => {
    // Which the class itself brings.
    const { apiVersion: _, kind, ...rest } = object;
    const name = `Kind${index}`;
    return `import { ${kind} as ${name} } from '${moduleOf(object)}';\nnew ${name}(${JSON.stringify(rest)});`;
  });
  writeFileSync(join(dir, 'manifests.ts'), lines.join('\n'));
  const tsc = fileURLToPath(new URL('../../node_modules/.bin/tsc', import.meta.url));
  const flags = ['--noEmit', '--skipLibCheck', '--module', 'nodenext', '--target', 'esnext', '--types', ''];
  const { status, stdout } = spawnSync(tsc, [...flags, 'manifests.ts'], { cwd: dir, encoding: 'utf8' });
  return status === 0 ? '' : stdout;
}

function variableOf({ env }: Manifest, wanted: string): string {
  return env.find(({ name }: Manifest) => name === wanted).value;
}

/** What `serve` makes of a container: its arguments, the image's variables and its own, each secret a file. */
function configOf(
  t: TestContext,
  container: Manifest,
  pod: Manifest,
  objects: Manifest[],
): ReturnType<typeof readConfig> {
  const dir = mkdtempSync(join(tmpdir(), 'crossfade-secrets-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const items = pod.volumes.flatMap(({ secret }: Manifest) => secret?.items ?? []);
  for (const { key, path } of items)
    writeFileSync(join(dir, path), key === 'redis-url' ? 'redis://redis:6379\n' : `text of ${key}\n`);
  const env: Record<string, string> = {};
  for (const [, name, value] of dockerfile.matchAll(/(CROSSFADE_\w+)=(\S+)/g)) env[name!] = value!;
  for (const { configMapRef } of container.envFrom)
    Object.assign(env, theOne(objects, 'ConfigMap', configMapRef.name).data);
  for (const { name, value } of container.env) env[name] = value.replace('/etc/crossfade', dir);
  const [command, ...args] = container.args;
  assert.equal(command, 'serve');
  const flags: GivenFlags = {};
  for (let at = 0; at < args.length; at += 2) flags[args[at].slice(2)] = args[at + 1];
  return readConfig(flags, env);
}

/** Whatever names a port, with its place. */
function* portsIn(value: Manifest, path = ''): Generator<[path: string, port: unknown]> {
  if (typeof value !== 'object' || value === null) return;
  for (const [key, inner] of Object.entries(value)) {
    const isPort = /^(port|targetPort|containerPort|hostPort|portNumber)$/.test(key);
    if (isPort && typeof inner !== 'object') yield [`${path}.${key}`, inner];
    else yield* portsIn(inner, `${path}.${key}`);
  }
}
