// What can be said of the Dockerfile without building it; image.ts builds and runs it.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { pinned } from '../../scripts/pinned-node.ts';
import { settings } from '../../src/config.ts';
import { version } from '../../src/version.ts';

const read = (path: string) => readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8');
const dockerfile = read('Dockerfile');

test('the image is labelled as the release that it holds, and the example runs that one', () => {
  assert.ok(dockerfile.includes(`LABEL org.opencontainers.image.title="crossfade" `));
  assert.ok(dockerfile.includes(`org.opencontainers.image.version="${version}"`));
  assert.ok(read('deploy/kubernetes/example/kustomization.yaml').includes(`newTag: ${version}\n`));
});

test('it is checked by its own binary, and sets no variable that serve does not know', () => {
  assert.match(dockerfile, /^HEALTHCHECK .* CMD \["crossfade", "health"\]$/m);
  const known = settings.flatMap(({ variables }) => variables);
  const set = [...dockerfile.matchAll(/(CROSSFADE_\w+)=/g)].map(([, name]) => name!);
  assert.deepEqual(
    set.filter((name) => !known.includes(name)),
    [],
  );
  assert.equal(set.length, 3);
});

test('it is built for both architectures for which a Node is pinned, on the builder’s own', () => {
  assert.deepEqual(Object.keys(pinned), ['release', 'x64', 'arm64']);
  assert.match(dockerfile, /^FROM --platform=\$\{BUILDPLATFORM\} \$\{NODE_IMAGE\} AS build$/m);
  assert.match(dockerfile, /^RUN npm run build -- --arch "\$\{TARGETARCH\}"$/m);
  assert.match(dockerfile, /^COPY --from=build \/src\/dist\/crossfade-\$\{TARGETARCH\} /m);
});
