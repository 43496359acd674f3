// TypeScript into what Node.js loads: each file beside its source, `a.ts` as `a.js`, `.mts` as `.mjs`, `.cts` as `.cjs`.
//
//   node compile.mjs REQUEST RESULT
//   REQUEST {"base", "entries": [path]}
//   RESULT  {"entries": {entry: {"main": path, "reads": [path], "messages": [text]}}, "made": [path],
//            "messages": [text], "failed": bool, "version": text}
//
// `main` is what is loaded, `reads` are the files of the project that decide about it, `made` is all that was written.
// Messages of an entry are about the files that it reads. Paths are relative to the base.
//
// The project's own compiler is used where it has one with this interface (5.x and 6.x), the nearest tsconfig.json of an
// entry decides, and where modules go is left to Node's rules: the extension, or "type" of the nearest package.json.
// Specifiers that Node would not find, those of "paths" and those without an extension, are written as paths to what the
// compiler found for them.
import { existsSync, mkdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const [request, result] = process.argv.slice(2);
const { base: given, entries } = JSON.parse(readFileSync(request, 'utf8'));
const base = realpathSync(given);
const here = dirname(fileURLToPath(import.meta.url));
const ts = compiler();
const MESSAGES = 100;
const MESSAGE_LENGTH = 4000;
const messages = [];
let dropped = 0;
let failed = false;

const TYPESCRIPT = /\.[cm]?tsx?$/;
const DECLARATION = /\.d\.(?:[cm]?ts|[^./]+\.ts)$/;
const EXTENSIONS = { '.ts': '.js', '.tsx': '.js', '.mts': '.mjs', '.cts': '.cjs' };

// Neither steers what is emitted here, nor may it: where files go is decided, and all of them have source maps.
const IGNORED = [
  'composite', 'declaration', 'declarationDir', 'declarationMap', 'emitBOM', 'emitDeclarationOnly',
  'incremental', 'inlineSources', 'isolatedDeclarations', 'mapRoot', 'noEmit', 'out', 'outDir', 'outFile',
  'rewriteRelativeImportExtensions', 'rootDir', 'rootDirs', 'sourceMap', 'sourceRoot', 'tsBuildInfoFile',
];
// "No inputs were found", and an empty "files": the entries are the inputs.
const NO_INPUTS = [18002, 18003];
// Options that this compiler does not know, or values of them.
const UNKNOWN = [5023, 5024, 5025, 6046];

function compiler() {
  const find = (from) => createRequire(join(from, 'x.js'));
  try {
    const own = find(base)('typescript');
    const major = Number.parseInt(own.version, 10);
    if ((major === 5 || major === 6) && typeof own.createProgram === 'function') return own;
  } catch {
    // It has none.
  }
  return find(here)('typescript');
}

const slashed = (path) => path.split(sep).join('/');
const inside = (path) => path.startsWith(base + sep);
const named = (path) => slashed(relative(base, path));
const isOwn = (path) => inside(path) && !path.includes(`${sep}node_modules${sep}`);

function report(diagnostics, kind) {
  for (const diagnostic of diagnostics) {
    const words = ts.flattenDiagnosticMessageText(diagnostic.messageText, '\n');
    let place = '';
    let file = '';
    if (diagnostic.file && diagnostic.start !== undefined) {
      const { line, character } = diagnostic.file.getLineAndCharacterOfPosition(diagnostic.start);
      file = named(diagnostic.file.fileName);
      place = `${file}:${line + 1}:${character + 1} - `;
    }
    const text = `${place}${kind} TS${diagnostic.code}: ${words}`.slice(0, MESSAGE_LENGTH);
    if (messages.length < MESSAGES) messages.push({ file, text });
    else dropped++;
  }
}

// The nearest tsconfig.json of a file.
function configOf(file) {
  let folder = dirname(file);
  for (;;) {
    const candidate = join(folder, 'tsconfig.json');
    if (existsSync(candidate)) return candidate;
    if (folder === base) return undefined;
    folder = dirname(folder);
  }
}

// Options, declarations that belong to every file, and the files that said so.
function configure(config) {
  const reads = new Set();
  const host = {
    ...ts.sys,
    readFile(path) {
      if (isOwn(path)) reads.add(named(path));
      return ts.sys.readFile(path);
    },
  };
  let parsed = { options: {}, fileNames: [], errors: [] };
  if (config !== undefined) {
    const read = ts.readConfigFile(config, host.readFile);
    if (read.error) {
      report([read.error], 'error');
      failed = true;
    }
    parsed = ts.parseJsonConfigFileContent(read.config ?? {}, host, dirname(config), undefined, config);
    const errors = parsed.errors.filter(({ code }) => !NO_INPUTS.includes(code));
    report(errors.filter(({ code }) => UNKNOWN.includes(code)), 'warning');
    const wrong = errors.filter(({ code }) => !UNKNOWN.includes(code));
    report(wrong, 'error');
    if (wrong.length) failed = true;
  }
  const wanted = parsed.options;
  const options = { esModuleInterop: true, skipLibCheck: true, target: ts.ScriptTarget.ES2022, ...wanted };
  for (const name of IGNORED) delete options[name];
  const asIs = wanted.jsx === undefined || wanted.jsx === ts.JsxEmit.Preserve || wanted.jsx === ts.JsxEmit.ReactNative;
  Object.assign(options, {
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    moduleDetection: wanted.moduleDetection ?? ts.ModuleDetectionKind.Auto,
    jsx: asIs ? ts.JsxEmit.ReactJSX : wanted.jsx,
    allowImportingTsExtensions: true,
    allowJs: true,
    checkJs: wanted.checkJs ?? false,
    inlineSourceMap: true,
    maxNodeModuleJsDepth: 0,
    noEmitOnError: false,
    suppressOutputPathCheck: true,
    resolveJsonModule: true,
  });
  // Made for bundlers: as CommonJS nothing that is written with `import` would pass.
  if (options.verbatimModuleSyntax) {
    delete options.verbatimModuleSyntax;
    options.isolatedModules = true;
  }
  // Types of Node for projects that have none.
  const folder = config === undefined ? base : dirname(config);
  if (wanted.typeRoots === undefined && !hasNodeTypes(folder)) {
    const usual = ts.getEffectiveTypeRoots({}, { getCurrentDirectory: () => folder }) ?? [];
    options.typeRoots = [...usual, join(here, 'node_modules', '@types')];
  }
  const declarations = parsed.fileNames.filter((file) => DECLARATION.test(file) && isOwn(file));
  return { options, declarations, reads, strict: wanted.noEmitOnError === true };
}

function hasNodeTypes(folder) {
  for (;;) {
    if (existsSync(join(folder, 'node_modules', '@types', 'node'))) return true;
    if (folder === base || !inside(folder)) return false;
    folder = dirname(folder);
  }
}

// What the compiler finds for each specifier of each file.
class Resolver {
  #options;
  #bundler;
  #cache;
  #bundlerCache;
  found = new Map();

  constructor(options) {
    this.#options = options;
    // Finds what Node does not: no extension, a folder's index, and all that "paths" and "baseUrl" say.
    this.#bundler = { ...options, module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler };
    const key = (path) => path;
    this.#cache = ts.createModuleResolutionCache(base, key, options);
    this.#bundlerCache = ts.createModuleResolutionCache(base, key, this.#bundler);
  }

  resolve(specifier, file, mode) {
    const node = ts.resolveModuleName(specifier, file, this.#options, ts.sys, this.#cache, undefined, mode);
    if (node.resolvedModule) return this.#keep(specifier, file, node);
    const bundler = ts.resolveModuleName(specifier, file, this.#bundler, ts.sys, this.#bundlerCache, undefined, mode);
    if (bundler.resolvedModule) return this.#keep(specifier, file, bundler);
    if (/^@(?:now|vercel)\/node$/.test(specifier)) {
      const resolvedFileName = join(here, 'vercel-node.d.ts');
      return { resolvedModule: { resolvedFileName, extension: '.d.ts', isExternalLibraryImport: true } };
    }
    return node;
  }

  #keep(specifier, file, resolution) {
    const names = this.found.get(file) ?? new Map();
    names.set(specifier, resolution.resolvedModule.resolvedFileName);
    this.found.set(file, names);
    return resolution;
  }
}

function emittedName(path) {
  const extension = TYPESCRIPT.exec(path)?.[0];
  return extension && !DECLARATION.test(path) ? path.slice(0, -extension.length) + EXTENSIONS[extension] : path;
}

// What is written instead of a specifier, if anything.
function replacement(specifier, file, target) {
  if (target === undefined || DECLARATION.test(target) || !isOwn(target)) return undefined;
  const isRelative = /^\.{0,2}\//.test(specifier) || specifier === '.' || specifier === '..';
  let path = slashed(relative(dirname(file), emittedName(target)));
  if (!path.startsWith('.')) path = `./${path}`;
  // A package's own name is a name like any other to Node: `#internal` and workspaces lead to the same file either way.
  return isRelative && path === specifier ? undefined : path;
}

function rewriting(resolver) {
  return (context) => {
    const { factory } = context;
    return (file) => {
      if (!ts.isSourceFile(file)) return file;
      const names = resolver.found.get(file.fileName) ?? new Map();
      const change = (literal) => {
        if (literal === undefined || !ts.isStringLiteralLike(literal)) return undefined;
        const path = replacement(literal.text, file.fileName, names.get(literal.text));
        return path === undefined ? undefined : factory.createStringLiteral(path);
      };
      const visit = (node) => {
        if (ts.isImportDeclaration(node)) {
          const path = change(node.moduleSpecifier);
          if (path) return factory.updateImportDeclaration(node, node.modifiers, node.importClause, path, node.attributes);
        } else if (ts.isExportDeclaration(node)) {
          const path = change(node.moduleSpecifier);
          if (path) {
            const { modifiers, isTypeOnly, exportClause, attributes } = node;
            return factory.updateExportDeclaration(node, modifiers, isTypeOnly, exportClause, path, attributes);
          }
        } else if (ts.isImportEqualsDeclaration(node) && ts.isExternalModuleReference(node.moduleReference)) {
          const path = change(node.moduleReference.expression);
          if (path) {
            const reference = factory.updateExternalModuleReference(node.moduleReference, path);
            return factory.updateImportEqualsDeclaration(node, node.modifiers, node.isTypeOnly, node.name, reference);
          }
        } else if (ts.isCallExpression(node) && isLoad(node)) {
          const path = change(node.arguments[0]);
          if (path) {
            const rest = node.arguments.slice(1).map((argument) => ts.visitNode(argument, visit));
            return factory.updateCallExpression(node, node.expression, node.typeArguments, [path, ...rest]);
          }
        }
        return ts.visitEachChild(node, visit, context);
      };
      return ts.visitNode(file, visit);
    };
  };
}

// `import(…)`, `require(…)`, `require.resolve(…)`
function isLoad({ expression }) {
  if (expression.kind === ts.SyntaxKind.ImportKeyword) return true;
  if (ts.isPropertyAccessExpression(expression)) {
    return expression.name.text === 'resolve' && isRequire(expression.expression);
  }
  return isRequire(expression);
}

const isRequire = (node) => ts.isIdentifier(node) && node.text === 'require';

const emittable = (source) => !source.isDeclarationFile && TYPESCRIPT.test(source.fileName);

const traced = {};
const made = new Set();

function compile(config, files) {
  const { options, declarations, reads, strict } = configure(config);
  if (failed) return;
  const resolver = new Resolver(options);
  const host = ts.createCompilerHost(options, true);
  host.getCurrentDirectory = () => base;
  host.resolveModuleNameLiterals = (literals, file, redirected, settings, source) =>
    literals.map((literal) =>
      resolver.resolve(literal.text, file, ts.getModeForUsageLocation(source, literal, settings)),
    );
  const program = ts.createProgram({ rootNames: [...files, ...declarations], options, host });
  const own = program.getSourceFiles().filter(({ fileName }) => isOwn(fileName));
  for (const source of own) {
    const broken = program.getSyntacticDiagnostics(source);
    report(broken, 'error');
    if (broken.length && emittable(source)) failed = true;
    const wrong = broken.length ? [] : program.getSemanticDiagnostics(source);
    report(wrong, 'error');
    if (strict && wrong.length) failed = true;
  }
  if (failed) return;
  const write = (path, text) => {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  };
  for (const source of own) {
    if (!emittable(source)) continue;
    const place = emittedName(source.fileName);
    const output = (path, text) => {
      if (path.endsWith('.map')) return;
      write(place, text);
      made.add(named(place));
    };
    program.emit(source, output, undefined, false, { before: [rewriting(resolver)] });
  }
  for (const file of files) {
    const needed = closure(file, resolver);
    const all = new Set([...[...needed, ...declarations].map(named), ...reads, ...needed.flatMap(manifests)]);
    const about = messages.filter(({ file: place }) => place === '' || all.has(place)).map(({ text }) => text);
    traced[named(file)] = { main: named(emittedName(file)), reads: [...all].sort(), messages: about };
  }
}

// The files of the project that one leads to.
function closure(entry, resolver) {
  const found = new Set([entry]);
  for (const file of found) {
    for (const target of resolver.found.get(file)?.values() ?? []) if (isOwn(target)) found.add(target);
  }
  return [...found];
}

// Each package.json that decides about a file's kind.
function manifests(file) {
  const found = [];
  let folder = dirname(file);
  while (folder === base || inside(folder)) {
    const candidate = join(folder, 'package.json');
    if (existsSync(candidate)) found.push(named(candidate));
    folder = dirname(folder);
  }
  return found;
}

const groups = new Map();
for (const entry of entries) {
  const file = join(base, entry);
  const config = configOf(file);
  groups.set(config, [...(groups.get(config) ?? []), file]);
}
for (const [config, files] of groups) compile(config, files);
const told = messages.map(({ text }) => text);
if (dropped) told.push(`and ${dropped} more`);
const answer = { entries: traced, made: [...made], messages: told, failed, version: ts.version };
writeFileSync(result, JSON.stringify(answer));
