//! The house rules that a compiler does not know: who may name whom, where `unsafe` stands, what is absent.
//!
//! Every check is a function from a source text to its violations, and each has a test below that plants a violation
//! and a harmless look-alike.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "architecture/claims.rs"]
mod claims;
#[path = "architecture/tokens.rs"]
mod tokens;
use tokens::{Token, reads, tokens};

/// Longest file, lines.
const LONGEST: usize = 600;
/// Longest program, lines of code without tests. Comments are not counted: a limit on them would be paid in clarity.
const LONGEST_PROGRAM: usize = 59_553;

/// Rooms by layer: a room names only rooms of lower layers, and itself.
const LAYERS: [&[&str]; 11] = [
    &["error", "units"],
    &["num", "provenance", "json", "os"],
    &["volume", "optics", "fft", "kernels"],
    &["exchange", "phantom", "recon", "register", "tensor"],
    &["nn"],
    &["segment"],
    &["analysis"],
    &["report"],
    &["pipeline"],
    &["cli"],
    &["main", "lib"],
];

/// The helpers of tests, which only tests name.
const TESTING: &str = "testing";

/// Where `unsafe` may stand.
const UNSAFE: [&str; 10] = [
    "src/kernels/cuda/driver.rs",
    "src/kernels/cuda/driver/entries.rs",
    "src/kernels/cuda/driver/found.rs",
    "src/kernels/cuda/driver/graph.rs",
    "src/kernels/cuda/driver/streams.rs",
    "src/num/lanes.rs",
    "src/num/lanes/x86.rs",
    "src/num/lanes/arm.rs",
    "src/volume/reader.rs",
    "src/os.rs",
];

/// What may lie at the top, besides dot files and what `.gitignore` names.
const TOP: [&str; 9] =
    ["Cargo.toml", "Cargo.lock", "src", "kernels", "testdata", "tests", "benches", "README.md", "LICENSE"];

/// Methods of f32 and f64 that the standard library hands to the platform, or whose rounding it leaves open.
const PLATFORM_FUNCTIONS: [&str; 27] = [
    "sin", "cos", "tan", "sin_cos", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh",
    "exp", "exp2", "exp_m1", "ln", "ln_1p", "ln_gamma", "log", "log2", "log10", "powf", "powi", "cbrt", "hypot",
];

/// A sequence of tokens that is absent from the program outside some places. Tests are free.
struct Absent {
    what: &'static str,
    why: &'static str,
    /// Files, or folders ending in `/`.
    except: &'static [&'static str],
    found: fn(&[Token], usize) -> bool,
}

const ABSENT: [Absent; 8] = [
    Absent {
        what: "a platform's mathematical function",
        why: "its bits differ between systems; use num::elementary",
        except: &["src/num/elementary.rs"],
        found: |t, i| {
            let of_float = reads(t, i, "f32 ::") || reads(t, i, "f64 ::") || reads(t, i, "libm ::");
            let called = t[i].text == "." && t.get(i + 2).is_some_and(|t| t.text == "(");
            let name = t.get(i + if of_float { 2 } else { 1 });
            let forbidden = name.is_some_and(|n| PLATFORM_FUNCTIONS.contains(&n.text.as_str()));
            // The logger's `log` is not the logarithm.
            let logger = i > 0 && ["self", "talk"].contains(&t[i - 1].text.as_str()) && reads(t, i, ". log");
            reads(t, i, "libm ::") || (of_float || called) && forbidden && !logger
        },
    },
    Absent {
        what: "printing",
        why: "stdout is data and stderr is talk, and only the command line has them",
        except: &["src/cli/", "src/main.rs", "src/testing.rs"],
        found: |t, i| {
            ["println", "eprintln", "print", "eprint", "dbg"].contains(&t[i].text.as_str())
                && reads(&t[i + 1..], 0, "!")
        },
    },
    Absent {
        what: "the environment",
        why: "a result depends on parameters that stand in its manifest",
        except: &["src/cli/", "src/main.rs", "src/testing.rs"],
        found: |t, i| {
            t[i].text == "env" && !reads(t, i + 1, "!") && (reads(t, i + 1, "::") || i > 0 && t[i - 1].text == "::")
        },
    },
    Absent {
        what: "global state",
        why: "the one interrupt flag is enough",
        except: &["src/os.rs", "src/testing.rs"],
        found: |t, i| {
            let kinds =
                ["Mutex", "RwLock", "OnceLock", "LazyLock", "OnceCell", "LazyCell", "Cell", "RefCell", "UnsafeCell"];
            let kind = |t: &Token| kinds.contains(&t.text.as_str()) || t.text.starts_with("Atomic");
            t[i].text == "thread_local"
                || reads(t, i, "static mut")
                || t[i].text == "static" && t[i..].iter().take_while(|t| t.text != "=" && t.text != ";").any(kind)
        },
    },
    Absent {
        what: "a hash map",
        why: "its order changes from run to run; use BTreeMap or BTreeSet",
        except: &[],
        found: |t, i| ["HashMap", "HashSet"].contains(&t[i].text.as_str()),
    },
    Absent {
        what: "a clock",
        why: "time is a matter of progress and run records",
        except: &["src/cli/", "src/pipeline/", "src/os.rs", "src/volume/writer.rs"],
        found: |t, i| ["Instant", "SystemTime"].contains(&t[i].text.as_str()),
    },
    Absent {
        what: "a reduction by rayon",
        why: "its order depends on the threads; collect, then use num::sum, or name an integer type: sum::<u64>()",
        except: &[],
        found: |t, i| parallel(&t[i].text) && reduces(&t[i..]),
    },
    Absent {
        what: "a thread's number",
        why: "a result does not depend on who computed it",
        // Picks the scratch memory of a thread, which holds nothing between two uses.
        except: &["src/recon/engine.rs"],
        found: |t, i| ["current_thread_index", "ThreadId"].contains(&t[i].text.as_str()),
    },
];

/// Whether a name starts a parallel iterator.
fn parallel(name: &str) -> bool {
    name.starts_with("par_") || name.starts_with("into_par_")
}

/// Whether the chain of calls that starts here ends in an order that rayon chooses.
fn reduces(chain: &[Token]) -> bool {
    let mut depth = 0;
    for (i, t) in chain.iter().enumerate() {
        match t.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            ";" if depth == 0 => return false,
            "." if depth == 0 => match chain.get(i + 1).map_or("", |t| &t.text) {
                "reduce" | "reduce_with" | "try_reduce" | "try_reduce_with" | "fold" | "fold_with" | "try_fold" => {
                    return true;
                }
                "sum" | "product" => {
                    let integer =
                        ["u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize"];
                    return !(reads(chain, i + 2, ":: <") && integer.contains(&chain[i + 4].text.as_str()));
                }
                _ => {}
            },
            _ => {}
        }
        if depth < 0 {
            return false;
        }
    }
    false
}

/// A source file: its path from the top with `/`, its text, its tokens.
struct File {
    path: String,
    text: String,
    tokens: Vec<Token>,
}

impl File {
    fn new(path: &str, text: &str) -> File {
        let all_test = path.ends_with("/tests.rs") || path.ends_with("_tests.rs") || !path.starts_with("src/");
        File { path: path.into(), text: text.into(), tokens: tokens(text, all_test) }
    }
    fn at(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{line}: {what}", self.path)
    }
    /// The modules from the crate to this file: `src/num/lanes/x86.rs` is num, lanes, x86.
    fn modules(&self) -> Vec<&str> {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inside.strip_suffix(".rs").unwrap_or(inside).split('/').filter(|&m| m != "mod").collect()
    }
}

fn file_length(file: &File) -> Vec<String> {
    let lines = file.text.lines().count();
    if lines > LONGEST { vec![file.at(lines, format!("longer than {LONGEST} lines"))] } else { Vec::new() }
}

/// Lines on which a token of the program begins: no comments, no blank lines, no tests.
fn lines_of_code(file: &File) -> usize {
    let code = file.tokens.iter().filter(|t| !t.test);
    code.map(|t| t.line).collect::<std::collections::BTreeSet<_>>().len()
}

fn layers(file: &File) -> Vec<String> {
    let layer = |name: &str| LAYERS.iter().position(|names| names.contains(&name));
    let room = file.modules()[0];
    if room == TESTING || room == "lib" {
        return Vec::new();
    }
    let Some(own) = layer(room) else {
        return vec![file.at(1, format!("the room `{room}` has no layer; give it one here and in src/lib.rs"))];
    };
    let mut wrong = Vec::new();
    for named in named_rooms(file) {
        let fine = match layer(&named.text) {
            _ if named.text == room => true,
            _ if named.text == TESTING => named.test,
            // Tests may take a sibling for their truth, as those of recon take phantom; never a room above.
            Some(other) => other < own || other == own && named.test,
            None => false,
        };
        if !fine {
            wrong.push(file.at(named.line, format!("`{room}` (layer {own}) names `{}`", named.text)));
        }
    }
    wrong
}

/// What follows `crate::`, or enough `super::` to get there: a name, or each first name in braces.
fn named_rooms(file: &File) -> Vec<&Token> {
    let t = &file.tokens;
    let mut named = Vec::new();
    for i in 0..t.len() {
        // `mod tests` inside a file is one deeper; a file of tests counts itself already.
        let depth = file.modules().len() + usize::from(t[i].test && !file.modules().last().unwrap().ends_with("tests"));
        let supers = (0..).take_while(|k| reads(t, i + 2 * k, "super ::")).count();
        let mut next = if reads(t, i, "crate ::") || reads(t, i, "tomolith ::") {
            i + 2
        } else if supers >= depth && (i == 0 || t[i - 1].text != "::") {
            i + 2 * depth
        } else {
            continue;
        };
        if !reads(t, next, "{") {
            named.extend(t.get(next));
            continue;
        }
        let mut braces = 0;
        loop {
            match t.get(next).map_or("}", |t| &t.text) {
                "{" => braces += 1,
                "}" => braces -= 1,
                _ if braces == 1 && ["{", ","].contains(&t[next - 1].text.as_str()) => named.push(&t[next]),
                _ => {}
            }
            if braces == 0 {
                break;
            }
            next += 1;
        }
    }
    named
}

/// `unsafe` stands in few files, and a comment that says SAFETY stands above each: at most three lines of the same
/// statement lie between.
fn unsafe_code(file: &File) -> Vec<String> {
    let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
    let comment = |line: usize| lines[line].starts_with("//");
    let mut wrong = Vec::new();
    for t in file.tokens.iter().filter(|t| t.text == "unsafe") {
        let mut above = t.line - 1; // this line, from 0
        for _ in 0..4 {
            above = if above > 0 && !comment(above) { above - 1 } else { above };
        }
        let says = |line: usize| lines[line].contains("SAFETY:") || lines[line].contains("# Safety");
        let block = (0..=above).rev().take_while(|&line| comment(line));
        if !UNSAFE.contains(&file.path.as_str()) {
            wrong.push(file.at(t.line, format!("`unsafe` stands only in {}", UNSAFE.join(", "))));
        } else if !block.into_iter().any(says) {
            wrong.push(file.at(t.line, "`unsafe` without a SAFETY comment above"));
        }
    }
    wrong
}

fn absent(file: &File) -> Vec<String> {
    let excepted =
        |rule: &Absent| rule.except.iter().any(|e| file.path == *e || e.ends_with('/') && file.path.starts_with(e));
    let mut wrong = Vec::new();
    for rule in ABSENT.iter().filter(|rule| !excepted(rule)) {
        for (i, t) in file.tokens.iter().enumerate().filter(|(_, t)| !t.test) {
            if (rule.found)(&file.tokens, i) {
                wrong.push(file.at(t.line, format!("{}: {}", rule.what, rule.why)));
            }
        }
    }
    wrong
}

/// Files of `src/kernels` that define no kernel, or none that a device needs: numbers of 16 bits are the CPU's own, and what is
/// told of a pixel is part of a kernel (`kernels/uncertainty.cuh`).
const NO_KERNELS: [&str; 11] =
    ["mod", "buffer", "cuda", "filter", "halves", "labels", "maps", "stencil", "tests", "twin", "uncertainty"];

/// Each kernel has its definition: `kernels/op.cu` and `src/kernels/op.rs`, which a fast twin `kernels/fast_op.cu` shares. Before the first `.cu` there is nothing to pair.
fn kernel_pairs(cuda: &[String], rust: &[String]) -> Vec<String> {
    if cuda.is_empty() {
        return Vec::new();
    }
    let names = |files: &[String], suffix: &str| -> Vec<String> {
        let stems = files.iter().filter_map(|f| f.strip_suffix(suffix));
        stems.filter(|f| !NO_KERNELS.contains(f)).map(str::to_string).collect()
    };
    let (cuda, rust) = (names(cuda, ".cu"), names(rust, ".rs"));
    let (fast, cuda): (Vec<String>, Vec<String>) = cuda.into_iter().partition(|n| n.starts_with("fast_"));
    let fast: Vec<String> = fast.iter().map(|n| n["fast_".len()..].to_string()).collect();
    let alone = |a: &[String], b: &[String], what: &str| -> Vec<String> {
        a.iter().filter(|n| !b.contains(n)).map(|n| format!("kernel {n} has no {what}")).collect()
    };
    // Weights are packed by no definition of their own but that of filters.
    let fast = alone(&fast, &[rust.clone(), vec!["filter".into()]].concat(), "definition for its fast twin");
    [alone(&cuda, &rust, "definition in src/kernels"), alone(&rust, &cuda, "twin in kernels"), fast].concat()
}

fn top_level(entries: &[String], gitignore: &str) -> Vec<String> {
    let ignored = |name: &str| {
        gitignore
            .lines()
            .any(|l| l.trim_start_matches('/') == name || l.strip_prefix('*').is_some_and(|s| name.ends_with(s)))
    };
    let known = |name: &str| name.starts_with('.') || TOP.contains(&name) || ignored(name);
    entries.iter().filter(|e| !known(e)).map(|e| format!("{e} does not belong at the top")).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Names in a folder, sorted; none if it does not exist.
fn list(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// All `.rs` and `.cu` files below some folders of the top.
fn files(folders: &[&str]) -> Vec<File> {
    let mut files = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(PathBuf::from).collect();
    while let Some(path) = open.pop() {
        let full = root().join(&path);
        if full.is_dir() {
            open.extend(list(&full).iter().map(|name| path.join(name)));
        } else if path.extension().is_some_and(|e| e == "rs" || e == "cu") {
            files.push(File::new(&path.to_str().unwrap().replace('\\', "/"), &fs::read_to_string(full).unwrap()));
        }
    }
    files
}

/// All violations at once, so that one run shows them all.
fn none(violations: impl IntoIterator<Item = String>) {
    let all: Vec<String> = violations.into_iter().collect();
    assert!(all.is_empty(), "{} violations\n{}", all.len(), all.join("\n"));
}

#[test]
fn files_are_short() {
    let all = files(&["src", "tests", "benches", "kernels"]);
    assert!(all.len() > 20, "the folders were not found");
    none(all.iter().flat_map(file_length));
}

/// The commands' device passes on every kernel: what it left out, a trait's default would compute on the CPU.
#[test]
fn the_commands_device_passes_every_kernel_on() {
    let names = |file: &str, from: &str| -> BTreeSet<String> {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let block = text.split(from).nth(1).unwrap_or_else(|| panic!("{file} has no {from}"));
        let block = block.split("\n}\n").next().unwrap();
        let lines = block.lines().filter_map(|line| line.strip_prefix("    fn "));
        lines.filter_map(|line| line.split(['(', '<']).next()).map(str::to_string).collect()
    };
    let kernels = names("src/kernels/mod.rs", "pub trait Kernels");
    assert!(kernels.len() > 25, "{kernels:?}");
    assert_eq!(names("src/cli/device.rs", "impl Kernels for Device"), kernels);
}

#[test]
fn the_program_is_small() {
    let total: usize = files(&["src"]).iter().map(lines_of_code).sum();
    println!("{total} lines of code without tests");
    assert!(total <= LONGEST_PROGRAM, "{total} lines");
}

#[test]
fn rooms_name_lower_layers_only() {
    none(files(&["src"]).iter().flat_map(layers));
}

#[test]
fn unsafe_is_confined_and_explained() {
    none(files(&["src", "tests", "benches"]).iter().flat_map(unsafe_code));
}

#[test]
fn what_is_absent_stays_absent() {
    none(files(&["src"]).iter().flat_map(absent));
}

#[test]
fn kernels_come_in_pairs() {
    none(kernel_pairs(&list(&root().join("kernels")), &list(&root().join("src/kernels"))));
}

#[test]
fn the_top_is_tidy() {
    none(top_level(&list(root()), &fs::read_to_string(root().join(".gitignore")).unwrap()));
}

/// The checks themselves: what they must find, and what they must leave.
mod planted {
    use super::*;

    fn count(check: fn(&File) -> Vec<String>, path: &str, text: &str) -> usize {
        check(&File::new(path, text)).len()
    }

    #[test]
    fn long_files() {
        assert_eq!(count(file_length, "src/a.rs", &"x\n".repeat(LONGEST + 1)), 1);
        assert_eq!(count(file_length, "src/a.rs", &"x\n".repeat(LONGEST)), 0);
        let mixed = "//! A\nuse b;\n#[cfg(test)]\nuse c;\n\nfn d() {}\n#[cfg(test)]\nmod tests {\n    e!();\n}\n";
        assert_eq!(lines_of_code(&File::new("src/a.rs", mixed)), 2);
    }

    #[test]
    fn upward_and_sideward_names() {
        let at = |path, text| count(layers, path, text);
        assert_eq!(at("src/num/sum.rs", "use crate::volume::Dims;"), 1);
        assert_eq!(at("src/recon/fbp.rs", "use crate::{error::Error, exchange::{npy, phantom}, nn::Net};"), 2);
        assert_eq!(at("src/recon/mod.rs", "fn f() { crate::phantom::discs() }"), 1, "a sibling");
        assert_eq!(at("src/num/sum.rs", "use super::super::volume;"), 1);
        assert_eq!(at("src/num/mod.rs", "use super::{error, volume};"), 1);
        assert_eq!(at("src/num/sum.rs", "#[cfg(test)] mod t { use super::super::super::cli; }"), 1);
        assert_eq!(at("src/volume/crash_tests.rs", "use crate::cli;"), 1, "tests have layers too");
        assert_eq!(at("src/recon/fbp.rs", "#[cfg(test)] mod t { use crate::{phantom::discs, nn}; }"), 1, "nn only");
        assert_eq!(at("src/num/sum.rs", "use crate::testing::data;"), 1, "outside tests");
        assert_eq!(at("src/cli/mod.rs", "use crate::nowhere::X;"), 1);
        assert_eq!(at("src/surprise.rs", ""), 1, "a room without a layer");

        assert_eq!(
            at("src/recon/fbp.rs", "use crate::{error::Error, num::{self, sum}, recon::filter}; pub(crate) fn f() {}"),
            0
        );
        assert_eq!(at("src/num/sum.rs", "// crate::cli\nuse super::lanes; const S: &str = \"crate::cli\";"), 0);
        assert_eq!(
            at("src/num/sum.rs", "#[cfg(test)] mod t { use super::super::philox; use crate::testing::data; }"),
            0
        );
        assert_eq!(at("src/exchange/npy/tests.rs", "use super::super::theta; use crate::testing::data;"), 0);
    }

    #[test]
    fn stray_and_unexplained_unsafe() {
        let explained = "fn f() {\n    // SAFETY: the check above\n    // makes it true.\n    #[cfg(x)]\n    let a =\n        unsafe { g() };\n}";
        assert_eq!(count(unsafe_code, "src/recon/fbp.rs", explained), 1, "not in the list");
        assert_eq!(count(unsafe_code, "tests/cli.rs", explained), 1);
        assert_eq!(count(unsafe_code, "src/os.rs", explained), 0);
        assert_eq!(count(unsafe_code, "src/os.rs", "// Safe enough.\nunsafe { g() }"), 1);
        assert_eq!(count(unsafe_code, "src/os.rs", "// SAFETY: of f\nf();\na();\nb();\nc();\nd();\nunsafe { g() }"), 1);
        assert_eq!(
            count(unsafe_code, "src/recon/fbp.rs", "// unsafe\n#![deny(unsafe_code)] const U: &str = \"unsafe\";"),
            0
        );
    }

    #[test]
    fn what_should_be_absent() {
        let at = |path: &str, text: &str| count(absent, path, text);
        let found = |text: &str| assert_eq!(at("src/recon/fbp.rs", text), 1, "missed: {text}");
        let left = |text: &str| assert_eq!(at("src/recon/fbp.rs", text), 0, "wrongly found: {text}");
        for name in PLATFORM_FUNCTIONS {
            found(&format!("x.{name}(y)"));
            found(&format!("x.map(f64::{name})"));
        }
        found("libm::sin(x)");
        left("talk.log(\"stage\", x); self.log(kind, y)");
        left("elementary::sin(x) + x.sqrt().mul_add(a, b) + x.sines() // x.sin()");
        left("#[cfg(test)] mod tests { fn f() { 1.0.sin(); println!(); std::env::var(a); } }");
        assert_eq!(at("src/num/elementary.rs", "libm::sin(x)"), 0);

        found("eprintln!(\"x\")");
        found("dbg!(x)");
        left("fn print(x: X) { writeln!(f, \"println!\") }");
        assert_eq!(at("src/cli/info.rs", "println!()") + at("src/main.rs", "eprintln!()"), 0);
        assert_eq!(at("src/client.rs", "println!()"), 1, "not below cli/");

        found("use std::env;");
        found("env::var(\"HOME\")");
        left("env!(\"CARGO_PKG_VERSION\")");
        left("let env = 1;");

        found("static mut X: u8 = 0;");
        found("static X: std::sync::Mutex<u8> = f();");
        found("thread_local! { }");
        left("static TABLE: [f32; 4] = [0.0; 4]; struct S { m: Mutex<u8> } fn f(x: &'static str) {}");
        assert_eq!(at("src/os.rs", "static INTERRUPTED: AtomicBool = AtomicBool::new(false);"), 0);

        found("fn f(x: &HashMap<u8, u8>) {}");
        found("let t = Instant::now();");
        left("BTreeMap::new()");
        assert_eq!(at("src/cli/progress.rs", "Instant::now()"), 0);

        found("let s: f32 = x.par_iter().map(|x| f(x)).sum();");
        found("x.par_chunks(4).map(|c| c.iter().sum::<f32>()).reduce(|| 0.0, |a, b| a + b)");
        found("(0..n).into_par_iter().map(f).sum::<f64>()");
        left("x.par_chunks(4).map(|c| c.iter().sum::<f32>()).collect::<Vec<_>>(); y.iter().sum::<f32>()");
        left("f(x.par_iter().map(f).collect::<Vec<_>>()).iter().sum::<f32>()");
        left("x.par_iter().filter(|x| x.is_nan()).map(|_| 1).sum::<u64>()");
        found("rayon::current_thread_index()");
    }

    #[test]
    fn lonely_kernels() {
        let names = |n: &[&str]| n.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        assert_eq!(kernel_pairs(&names(&["conv.cu", "norm.cu"]), &names(&["conv.rs", "mod.rs", "relu.rs"])).len(), 2);
        assert_eq!(kernel_pairs(&names(&["conv.cu"]), &names(&["conv.rs", "mod.rs"])).len(), 0);
        assert_eq!(kernel_pairs(&names(&["conv.cu", "fast_conv.cu", "fast_norm.cu"]), &names(&["conv.rs"])).len(), 1);
        assert_eq!(kernel_pairs(&[], &names(&["conv.rs"])).len(), 0, "no CUDA yet");
    }

    #[test]
    fn strangers_at_the_top() {
        let names = ["src", ".ci", "target", "x.part", "notes.txt", "scripts"].map(String::from);
        assert_eq!(top_level(&names, "/target\n*.part\n").len(), 2);
    }
}
