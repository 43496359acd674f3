// Which files each entrypoint needs: static analysis by @vercel/nft, and what the project names itself.
//
//   node trace.mjs REQUEST RESULT
//   REQUEST {"base", "entries": [{"entry", "include": [glob], "exclude": [glob]}]}
//   RESULT  {"entries": {entry: {"files": [path], "links": {path: target}}}, "warnings": [text]}
//
// Paths are relative to the base. A link's target is where it leads; files behind links are listed where they are.
import { readFileSync, writeFileSync, lstatSync, realpathSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { nodeFileTrace, resolve } from '@vercel/nft';
import { glob } from 'glob';

const [request, result] = process.argv.slice(2);
const { base, entries } = JSON.parse(readFileSync(request, 'utf8'));
const WARNINGS = 50;
const warnings = new Set();
const cache = {};
// What this interpreter, which is the function's, looks for in "exports".
const conditions = ['node', 'node-addons'];
if (process.features.require_module) conditions.push('module-sync');

const inside = (path) => path !== '' && path !== '..' && !path.startsWith('..' + sep);
const matching = async (patterns) => {
  if (!patterns.length) return [];
  return glob(patterns, { cwd: base, nodir: true, dot: true, follow: false, posix: true });
};

function warn(error, entry) {
  const whole = String(error?.message ?? error);
  // Many packages look for others that need not be there; what the project's own files miss is worth a line.
  if (whole.includes('node_modules')) return;
  const text = whole.split('\n').join(' ').slice(0, 500);
  if (warnings.size < WARNINGS) warnings.add(`${entry}: ${text}`.replaceAll(base + sep, ''));
}

const traced = {};
for (const { entry, include, exclude } of entries) {
  const found = await nodeFileTrace([join(base, entry)], {
    base,
    processCwd: base,
    mixedModules: true,
    resolve: (id, parent, job, cjsResolve) => {
      // What is TypeScript has been compiled: the result is what the interpreter finds.
      job.ts = false;
      return resolve(id, parent, job, cjsResolve);
    },
    conditions,
    moduleSyncCatchall: true,
    cache,
  });
  for (const warning of found.warnings) warn(warning, entry);
  const out = new Set(await matching(exclude));
  const paths = new Set([entry, ...found.fileList, ...(await matching(include))]);
  const files = new Set();
  const links = {};
  for (const path of paths) {
    if (out.has(path) && path !== entry) continue;
    const full = join(base, path);
    const status = lstatSync(full, { throwIfNoEntry: false });
    if (!status) continue;
    if (status.isFile()) {
      files.add(path);
    } else if (status.isSymbolicLink()) {
      let target;
      try {
        target = relative(base, realpathSync(full));
      } catch {
        continue;
      }
      if (inside(target)) links[path] = target;
    }
  }
  traced[entry] = { files: [...files].sort(), links };
}
writeFileSync(result, JSON.stringify({ entries: traced, warnings: [...warnings] }));
