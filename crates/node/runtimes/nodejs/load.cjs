'use strict';
// Loads the entrypoint, CommonJS or ES module, and explains what goes wrong.

const { existsSync, readFileSync, statSync } = require('fs');
const Module = require('module');
const path = require('path');
const { pathToFileURL } = require('url');
const vm = require('vm');

// The function cannot be loaded, in words for its author. `cause` is what was thrown, if anything was.
class LoadError extends Error {}

// Whether `require` loads ES modules, too (20.19, 22.12). It reads them without going through the thread pool, which
// makes the difference of half a millisecond to `import`, but passes by the loader hooks that some options install.
const REQUIRES_ESM =
  process.features.require_module === true &&
  !/--(?:import|(?:experimental-)?loader)\b/.test([...process.execArgv, process.env.NODE_OPTIONS].join(' '));

// The value of the entrypoint's exports, or a promise of it for ES modules that load asynchronously.
function loadEntry(file, root) {
  if (!REQUIRES_ESM && isEsModule(file, root)) return importEntry(file);
  try {
    return requireEntry(file);
  } catch (error) {
    // An ES module that awaits at the top level; but where a CommonJS file requires such a module, that is an error.
    const awaits = error?.code === 'ERR_REQUIRE_ASYNC_MODULE';
    if (awaits && (isEsModule(file, root) || !isCommonJs(file))) return importEntry(file);
    throw explain(error, file);
  }
}

// Without a parent module: the function is nobody's dependency, and "Require stack" shows only the user's own files.
function requireEntry(file) {
  return Module._load(file, null, false);
}

async function importEntry(file) {
  try {
    return await import(pathToFileURL(file).href);
  } catch (error) {
    throw explain(error, file);
  }
}

// Node's own rule: the extension decides, or for `.js` the nearest package.json. There is none above the deployment.
function isEsModule(file, root) {
  if (file.endsWith('.mjs')) return true;
  if (!file.endsWith('.js')) return false;
  let folder = file;
  do {
    folder = path.dirname(folder);
    const candidate = path.join(folder, 'package.json');
    if (statSync(candidate, { throwIfNoEntry: false })?.isFile()) return packageType(candidate) === 'module';
  } while (folder.length > root.length);
  return false;
}

function packageType(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))?.type;
  } catch {
    return undefined; // Node reports a broken package.json itself, and better
  }
}

function isCommonJs(file) {
  try {
    vm.compileFunction(readFileSync(file, 'utf8').replace(/^#!.*/, ''), [
      'exports',
      'require',
      'module',
      '__filename',
      '__dirname',
    ]);
    return true;
  } catch {
    return false;
  }
}

function explain(error, file) {
  const message = hint(error, file);
  return message === undefined ? error : new LoadError(message, { cause: error });
}

function hint(error, file) {
  if (error?.code === 'MODULE_NOT_FOUND' || error?.code === 'ERR_MODULE_NOT_FOUND') {
    if (!existsSync(file)) return `the entrypoint ${file} does not exist`;
    const summary = error.message.split('\n', 1)[0];
    const wanted = /'([^']*)'/.exec(summary)?.[1] ?? '';
    return /^(?:\.|\/|file:)/.test(wanted)
      ? `${summary}\nIs the file part of the deployment, and its name spelled in the same case?`
      : `${summary}\nDid you forget to add it to "dependencies" in \`package.json\`?`;
  }
  if (error instanceof SyntaxError && !process.features.require_module && ES_SYNTAX_ERRORS.test(error.message)) {
    return (
      `${error.message}\nNode.js ${process.version} loads ES module syntax only from \`.mjs\` files, ` +
      'or with "type": "module" in `package.json`.'
    );
  }
  return undefined;
}

// What V8 says to ES module syntax when it compiles a script.
const ES_SYNTAX_ERRORS =
  /^(?:Cannot use import statement|Unexpected token 'export'|Cannot use 'import\.meta'|await is only valid)/;

module.exports = { LoadError, loadEntry };
