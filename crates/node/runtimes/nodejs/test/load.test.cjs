'use strict';
// Finding and loading the entrypoint, and what its author is told when that fails.

const assert = require('assert/strict');
const fs = require('fs');
const path = require('path');
const { test } = require('node:test');
const { deploy, start } = require('../testkit/sandbox.cjs');

// Whether plain `.js` files may hold ES module syntax (20.19 and 22.12).
const LOADS_ESM_ANYWHERE = Boolean(process.features.require_module);
const MODULE_PACKAGE = '{"type":"module"}';
const CJS = `const { sep } = require('path'); module.exports = (req, res) => res.end('cjs' + sep);`;
const ESM = `import { sep } from 'path'; export default (req, res) => res.end('esm' + sep);`;
const ESM_AWAIT = `const { sep } = await import('path'); export default (req, res) => res.end('esm' + sep);`;

const LOADED = [
  // [name, files, answer, needs ES modules anywhere]
  ['CommonJS in .js', { 'a.js': CJS }, 'cjs/'],
  ['CommonJS in .cjs of a module package', { 'a.cjs': CJS, 'package.json': MODULE_PACKAGE }, 'cjs/'],
  [
    'CommonJS in .js below a module package',
    { 'api/a.js': CJS, 'api/package.json': '{}', 'package.json': MODULE_PACKAGE },
    'cjs/',
  ],
  ['a .ts file that holds compiled JavaScript', { 'a.ts': CJS }, 'cjs/'],
  ['ES module in .mjs', { 'a.mjs': ESM }, 'esm/'],
  ['ES module in .mjs, awaiting', { 'a.mjs': ESM_AWAIT }, 'esm/'],
  ['ES module by package type', { 'a.js': ESM, 'package.json': MODULE_PACKAGE }, 'esm/'],
  ['ES module by the type of a package above', { 'api/v1/a.js': ESM_AWAIT, 'package.json': MODULE_PACKAGE }, 'esm/'],
  ['ES module syntax in plain .js', { 'a.js': ESM }, 'esm/', true],
  ['ES module syntax in plain .js, awaiting', { 'a.js': ESM_AWAIT }, 'esm/', true],
  ['a hashbang', { 'a.js': `#!/usr/bin/env node\n${CJS}` }, 'cjs/'],
  [
    'a default export wrapped five times',
    {
      'a.js': `let e = (req, res) => res.end('deep'); for (let i = 0; i < 5; i += 1) e = { __esModule: true, default: e }; module.exports = e;`,
    },
    'deep',
  ],
  [
    "files named like the launcher's own",
    {
      'a.js': `module.exports = (req, res) => res.end(require('./launcher.cjs') + require('./helpers.cjs'));`,
      'launcher.cjs': `module.exports = 'l'`,
      'helpers.cjs': `module.exports = 'h'`,
    },
    'lh',
  ],
  [
    'JSON and packages',
    {
      'a.js': `module.exports = (req, res) => res.end(require('pkg') + require('./d.json').v);`,
      'd.json': '{"v":2}',
      'node_modules/pkg/index.js': `module.exports = 'pkg'`,
    },
    'pkg2',
  ],
  [
    'ES module that imports CommonJS',
    {
      'a.mjs': `import { v } from './b.cjs'; export default (req, res) => res.end(v);`,
      'b.cjs': `exports.v = 'mixed'`,
    },
    'mixed',
  ],
  [
    'CommonJS that imports an ES module',
    {
      'a.js': `module.exports = async (req, res) => res.end((await import('./b.mjs')).v);`,
      'b.mjs': `export const v = 'mixed'`,
    },
    'mixed',
  ],
];
for (const [name, files, answer, needsEsmAnywhere] of LOADED) {
  test(`loads ${name}`, { skip: needsEsmAnywhere && !LOADS_ESM_ANYWHERE && 'not with this Node.js' }, async (t) => {
    const sandbox = await deploy(t, files);
    assert.equal((await sandbox.invoke()).body, answer);
    assert.equal(sandbox.stderr, '');
  });
}

test('loads an entry that is a symbolic link', async (t) => {
  const sandbox = await start(t);
  sandbox.write({
    'real/b.js': `module.exports = (req, res) => res.end(__filename + require('./c'));`,
    'real/c.js': `module.exports = '+c'`,
  });
  fs.symlinkSync('real/b.js', path.join(sandbox.root, 'a.js'));
  sandbox.go({ entry: 'a.js' });
  assert.equal((await sandbox.invoke()).body, `${sandbox.root}/real/b.js+c`);
});

async function assertUnloadable(t, files, { message, stderr, go }) {
  const sandbox = await start(t);
  sandbox.write(files);
  sandbox.go({ entry: 'api/a.js', ...go });
  const response = await sandbox.fetch();
  assert.equal(response.status, 500);
  assert.equal(response.headers['x-dockless-internal-error'], 'FUNCTION_FAILED');
  assert.equal(response.body, '');
  const told = await sandbox.frame('unrecoverable-error');
  assert.equal(told.exitCode, 1);
  assert.match(told.message, message);
  assert.deepEqual(await sandbox.exited, { code: 1, signal: null });
  for (const pattern of [stderr].flat()) assert.match(sandbox.stderr, pattern);
  assert.ok(
    !sandbox.stderr.includes('Require stack:\n- /work') &&
      !sandbox.unread.some(({ type }) => type === 'handler-loaded'),
  );
}

const HINT = /Did you forget to add it to "dependencies" in `package\.json`\?/;
const UNLOADABLE = [
  [
    'a package that is not installed',
    { 'api/a.js': `require('left-pad');` },
    { message: HINT, stderr: [/Cannot find module 'left-pad'/, HINT, /api\/a\.js:1:1/] },
  ],
  [
    'a package that is not installed, in an ES module',
    { 'api/a.mjs': `import 'left-pad';` },
    { go: { entry: 'api/a.mjs' }, message: HINT, stderr: [/Cannot find package 'left-pad'/, HINT] },
  ],
  [
    'a file that is not there',
    { 'api/a.js': `require('../lib/util');` },
    {
      message: /Cannot find module '\.\.\/lib\/util'\nIs the file part of the deployment/,
      stderr: /Require stack:\n- .*task\/api\/a\.js\n/,
    },
  ],
  [
    'an entrypoint that is not there',
    { 'x.js': '' },
    { message: /the entrypoint .*api\/a\.js does not exist/, stderr: /does not exist/ },
  ],
  [
    'a syntax error',
    { 'api/a.js': `module.exports = (req, res) => {\n  const 1x = 2;\n};` },
    { message: /^SyntaxError: Invalid or unexpected token$/, stderr: /api\/a\.js:2\n +const 1x = 2;\n +\^/ },
  ],
  [
    'a syntax error in an ES module',
    { 'api/a.mjs': `export default (\n  const;` },
    { go: { entry: 'api/a.mjs' }, message: /^SyntaxError: /, stderr: /api\/a\.mjs:2\n +const;\n/ },
  ],
  [
    'an exception at load',
    { 'api/a.js': `\nthrow new TypeError('at load');` },
    { message: /^TypeError: at load$/, stderr: /TypeError: at load\n +at .*api\/a\.js:2:7/ },
  ],
  [
    'a rejection at load',
    { 'api/a.mjs': `\nawait Promise.reject(new TypeError('at load'));` },
    { go: { entry: 'api/a.mjs' }, message: /^TypeError: at load$/, stderr: /api\/a\.mjs:2:/ },
  ],
  [
    'an exception soon after load begins',
    { 'api/a.mjs': `setImmediate(() => { throw new TypeError('astray'); }); await new Promise(() => {});` },
    { go: { entry: 'api/a.mjs' }, message: /^TypeError: astray$/, stderr: /TypeError: astray\n +at .*api\/a\.mjs:1:/ },
  ],
  [
    'exports of no known shape',
    { 'api/a.js': `module.exports = { hello: 1 };` },
    { message: /^invalid export in .*api\/a\.js: expected a function/, stderr: /invalid export/ },
  ],
  [
    'a text as export',
    { 'api/a.js': `module.exports = 'hello';` },
    { message: /^invalid export/, stderr: /invalid export/ },
  ],
  [
    'a default export wrapped six times',
    { 'api/a.js': `let e = () => {}; for (let i = 0; i < 6; i += 1) e = { default: e }; module.exports = e;` },
    { message: /^invalid export/, stderr: /invalid export/ },
  ],
  [
    'nothing exported and no server',
    { 'api/a.js': `console.log('nothing');` },
    {
      message: /exports no handler, and no http\.Server called listen\(\) within 5 seconds/,
      stderr: /start a server while the file is loaded/,
    },
  ],
  [
    'an AWS handler that is not exported',
    { 'api/a.js': `exports.other = () => {};` },
    { go: { awsHandler: 'handler' }, message: /exports no function named "handler"/, stderr: /exports no function/ },
  ],
];
for (const [name, files, expected] of UNLOADABLE) {
  test(`cannot load ${name}`, (t) => assertUnloadable(t, files, expected));
}

test(
  'ES module syntax that this Node.js cannot load is explained',
  { skip: LOADS_ESM_ANYWHERE && 'this one can' },
  (t) =>
    assertUnloadable(
      t,
      { 'api/a.js': ESM },
      { message: /"type": "module" in `package\.json`/, stderr: /api\/a\.js:1/ },
    ),
);

test(
  'a function that awaits an ES module through require fails once, not twice',
  { skip: !LOADS_ESM_ANYWHERE },
  async (t) => {
    const sandbox = await deploy(t, {
      'a.js': `console.log('ran'); require('./b.mjs');`,
      'b.mjs': 'await null; export default 1;',
    });
    await sandbox.exited;
    assert.equal(sandbox.stdout, 'ran\n');
  },
);

test('a function that exits while it is loaded', async (t) => {
  const sandbox = await deploy(t, { 'a.js': `process.exit(7);` });
  assert.deepEqual(await sandbox.exited, { code: 7, signal: null });
});
