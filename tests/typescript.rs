//! Functions in TypeScript, by the real command line: what is compiled, what is told, what is kept.

use dockless_testkit::{Deployment, Files, Options, Scratch, Server, copy_tree, npm_answers};
use std::path::{Path, PathBuf};

fn server() -> Server {
    Server::start(Options { shelf: 0, ..Options::new(env!("CARGO_BIN_EXE_dockless")) })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Deploys; the deployment, and what was said on the way.
#[track_caller]
fn deploy(server: &Server, folder: &Path) -> (Deployment, String) {
    server.deploy_told(folder, &[])
}

/// Deploys what must not be; what was said.
#[track_caller]
fn refused(server: &Server, files: &Files) -> String {
    let folder = files.path().to_str().expect("a path is text");
    server.cli(&["deploy", folder, "--name", "app", "--yes"]).exits(1).stderr
}

/// One server for all that follows: the compiler is installed once.
#[test]
fn functions_in_typescript() {
    if !npm_answers("functions_in_typescript") {
        return;
    }
    let server = server();
    the_example_answers_tells_the_lines_of_its_sources_and_is_compiled_once(&server);
    errors_of_types_are_told_each_time_and_end_a_build_only_where_the_project_says_so(&server);
    modules_of_both_kinds_builds_and_the_projects_own_compiler(&server);
    server.stop();
}

fn the_example_answers_tells_the_lines_of_its_sources_and_is_compiled_once(server: &Server) {
    let source = Scratch::new();
    copy_tree(&root().join("examples/typescript"), source.path());
    let (first, said) = deploy(server, source.path());
    assert!(said.contains("compile: TypeScript 5.9") && !said.contains("error TS"), "{said}");
    assert_eq!(first.json("/api/hello?name=Ada")["text"], "Hello, Ada!");
    assert_eq!(first.json("/api/hello.ts?name=Ada")["letters"], 3);
    assert_eq!(first.json("/api/time?zone=UTC")["letters"], 3);
    let badge = first.get("/api/badge?text=%3Cok").expect(200);
    assert!(badge.text().contains("<rect width=\"40\"") && badge.text().contains("&lt;ok</text>"), "{}", badge.text());
    // Neither sources nor what was made of them are anybody's to read.
    for path in ["/api/hello.js", "/lib/greet.js", "/api/_lib", "/api/time.mjs"] {
        assert!(!first.get(path).text().contains("sourceMappingURL"), "{path}");
    }

    let failed = first.get(&format!("/api/hello?name={}", "x".repeat(41)));
    assert_eq!(failed.status(), 500);
    assert!(!failed.text().contains("letters are no name") && !failed.text().contains("greet"), "{}", failed.text());
    let _ = server.logged(&first, "RangeError: 41 letters are no name");
    let _ = server.logged(&first, "/var/task/lib/greet.ts:7:");
    let _ = server.logged(&first, "/var/task/api/hello.ts:6:");

    let (_, said) = deploy(server, source.path());
    assert!(said.contains("trace: 3 functions cached") && !said.contains("$ "), "{said}");
    let greet = source.path().join("lib/greet.ts");
    let text = std::fs::read_to_string(&greet).expect("the example has it");
    std::fs::write(&greet, text.replace("Hello, ", "Good day, ")).expect("it is a copy");
    let (changed, said) = deploy(server, source.path());
    assert_eq!(changed.json("/api/hello?name=Ada")["text"], "Good day, Ada!");
    assert!(said.contains("trace: 1 function cached") && said.contains("trace: 2 functions in"), "{said}");
}

fn errors_of_types_are_told_each_time_and_end_a_build_only_where_the_project_says_so(server: &Server) {
    let wrong = "const n: number = 'seven';\nexport default (_: unknown, res: any) => res.send(String(n));\n";
    let files = Files::new().with("api/a.ts", wrong).with("index.html", "");
    let told = "api/a.ts:1:7 - error TS2322: Type 'string' is not assignable to type 'number'.";
    let (site, said) = deploy(server, files.path());
    assert!(said.contains(told), "{said}");
    assert_eq!(site.get("/api/a").expect(200).text(), "seven");
    let (_, said) = deploy(server, files.path());
    assert!(said.contains("trace: 1 function cached") && said.contains(told), "{said}");

    let strict = files.with("tsconfig.json", r#"{ "compilerOptions": { "noEmitOnError": true } } // by choice"#);
    let said = refused(server, &strict);
    assert!(said.contains("does not compile") && said.contains(told), "{said}");
    let broken = Files::new().with("api/a.ts", "export default (\n  res: => 1;\n").with("index.html", "");
    let said = refused(server, &broken);
    assert!(said.contains("does not compile") && said.contains("api/a.ts:2:"), "{said}");
    let lost =
        Files::new().with("api/a.ts", "export default 1").with("tsconfig.json", r#"{ "extends": "./nowhere.json" }"#);
    let said = refused(server, &lost);
    assert!(said.contains("does not compile") && said.contains("nowhere.json"), "{said}");
}

fn modules_of_both_kinds_builds_and_the_projects_own_compiler(server: &Server) {
    // Without the extensions that Node wants, across a boundary of kinds, with a name of the package's own, in the
    // style of bundlers.
    let modules = Files::new()
        .with("package.json", r##"{ "type": "module", "imports": { "#db": "./lib/db.ts" } }"##)
        .with(
            "tsconfig.json",
            r#"{ "extends": "./config/base.json", "compilerOptions": { "noEmit": true, "paths": { "~/*": ["./lib/*"] } } }"#,
        )
        .with(
            "config/base.json",
            r#"{ "compilerOptions": { "module": "esnext", "moduleResolution": "bundler", "verbatimModuleSyntax": true } }"#,
        )
        .with(
            "api/all.ts",
            "import { db } from '#db';
             import type { Kind } from '~/kind';
             import old from '../lib/old.cjs';
             import * as fs from 'node:fs';
             import { later } from '~/folder';
             const kind: Kind = 'esm';
             const text = fs.readFileSync(new URL('../data/note.txt', import.meta.url), 'utf8');
             export const GET = async () => Response.json([kind, db(), old.name, text, await later()]);",
        )
        .with("lib/db.ts", "export { type Row, db } from './rows';")
        .with("lib/rows.ts", "export interface Row { a: number }\nexport const db = (): Row => ({ a: 1 });")
        .with("lib/kind.ts", "export type Kind = 'esm' | 'cjs';")
        .with("lib/old.cts", "export = { name: __filename.split('/').pop() };")
        .with("lib/folder/index.ts", "export const later = async () => (await import('./leaf')).leaf;")
        .with("lib/folder/leaf.ts", "export const leaf = 'leaf';")
        .with("data/note.txt", "noted");
    let (site, said) = deploy(server, modules.path());
    assert!(!said.contains("error TS"), "{said}");
    assert_eq!(site.get("/api/all").expect(200).text(), r#"["esm",{"a":1},"old.cjs","noted","leaf"]"#);

    // By the rules of 2019: what is named is what there is, at its own path. A function in JavaScript beside one in
    // TypeScript may load such files, too.
    let listed = Files::new()
        .with(
            "now.json",
            r#"{ "builds": [{ "src": "*.ts", "use": "@now/node" }, { "src": "old.js", "use": "@now/node" }] }"#,
        )
        .with(
            "package.json",
            r#"{ "dependencies": { "ms": "2.1.3" }, "devDependencies": { "typescript": "5.4.5", "@types/ms": "0.7.34" } }"#,
        )
        .with(
            "index.ts",
            "import ms from 'ms';
             import { NowRequest, NowResponse } from '@now/node';
             import { half } from './lib/half';
             enum Unit { Hour = 'h' }
             export default (req: NowRequest, res: NowResponse) => { res.send(String(half(ms(`2${Unit.Hour}`)))) };",
        )
        .with("lib/half.ts", "export const half = (n: number): number => n / 2;")
        .with("old.js", "const { half } = require('./lib/half'); module.exports = (q, s) => s.send(String(half(4)))");
    let (site, said) = deploy(server, listed.path());
    assert!(said.contains("compile: TypeScript 5.4.5") && !said.contains("error TS"), "{said}");
    assert_eq!(site.get("/index.ts").expect(200).text(), "3600000");
    assert_eq!(site.get("/old.js").expect(200).text(), "2");
}
