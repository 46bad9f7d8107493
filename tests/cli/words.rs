//! The program as a user meets it: words in, exit code and two streams out.

use crate::common::{Scratch, expect, npy, run, stderr, stdout, tomolith};
use std::path::Path;
use std::process::{Output, Stdio};

#[test]
fn words_and_exit_codes() {
    let folder = Scratch::new("words");
    folder.write("bad.toml", "[doctor]\nfilter = 1\n");
    folder.write("unknown.toml", "threads = 1\nthreds = 2\n");
    folder.write("table.toml", "[docter]\n");
    folder.write("syntax.toml", "threads = \n");
    folder.write("bool.toml", "quiet = \"yes\"\n");
    folder.write("latin.toml", b"# \xe9\n");
    folder.write("deep.toml", format!("threads = {}", "[".repeat(100_000)));
    folder.write("long.toml", "#".repeat(2_000_000));
    std::fs::create_dir(folder.0.join("dir.toml")).unwrap();
    #[rustfmt::skip]
    let cases: &[(&str, i32, &[&str])] = &[
        ("--help", 0, &["Usage: tomolith", "doctor", "Exit codes"]),
        ("-h", 0, &["Usage: tomolith"]),
        ("--version", 0, &[env!("CARGO_PKG_VERSION")]),
        ("help doctor", 0, &["Usage: tomolith doctor", "Examples:"]),
        ("doctor --help", 0, &["Options of every command", "--threads"]),
        ("docter", 2, &["'docter'", "doctor"]),
        ("frobnicate", 2, &["frobnicate"]),
        ("doctor --threds 2", 2, &["--threds", "--threads"]),
        ("--threds 2 doctor", 2, &["--threds", "--threads"]),
        ("doctor --threads", 2, &["--threads"]),
        ("doctor --threads 0", 2, &["--threads", "'0'"]),
        ("--threads 0 doctor", 2, &["--threads", "'0'"]),
        ("doctor --threads -1", 2, &["'-1'"]),
        ("doctor --threads many", 2, &["'many'"]),
        ("doctor --threads 1 --threads 2", 2, &["--threads"]),
        ("doctor --isa avx3", 2, &["--isa", "did you mean 'avx2'"]),
        ("doctor --io mmpa", 2, &["--io", "did you mean 'mmap'"]),
        ("doctor -q -v", 2, &["--quiet", "--verbose"]),
        ("doctor surplus", 2, &["surplus"]),
        ("doctor --config none.toml", 66, &["none.toml", "no such file"]),
        ("doctor --config dir.toml", 66, &["dir.toml", "folder"]),
        ("doctor --config /dev/zero", 65, &["/dev/zero", "regular file"]),
        ("doctor --config bad.toml", 2, &["bad.toml", "line 2", "'filter'"]),
        ("doctor --config unknown.toml", 2, &["unknown.toml", "line 2", "did you mean 'threads'"]),
        ("doctor --config table.toml", 2, &["table.toml", "line 1", "did you mean 'doctor'"]),
        ("doctor --config syntax.toml", 2, &["syntax.toml", "line 1"]),
        ("doctor --config bool.toml", 2, &["bool.toml", "line 1", "true or false"]),
        ("doctor --config deep.toml", 2, &["deep.toml", "line 1"]),
        ("doctor --config long.toml", 65, &["long.toml", "too long"]),
        ("doctor --config latin.toml", 65, &["latin.toml", "UTF-8"]),
        ("doctor --log-json missing/log", 73, &["missing/log"]),
        ("doctor --show-config", 0, &["threads", "# default"]),
    ];
    for (words, code, says) in cases {
        expect(&run(&folder.0, words), *code, says, words);
    }
    if cfg!(target_arch = "x86_64") {
        expect(&run(&folder.0, "doctor --isa neon"), 69, &["--isa", "no neon", "scalar"], "a set of other machines");
    }
    let help = run(&folder.0, "--help");
    assert!(help.stderr.is_empty(), "help is data: {}", stderr(&help));
    for words in ["", "trace"] {
        let output = run(&folder.0, words);
        assert_eq!(output.status.code(), Some(2), "{words}");
        assert!(output.stdout.is_empty() && stderr(&output).contains("Usage"), "{words}: {output:?}");
    }
}

#[test]
fn options_of_every_command_stand_before_or_after_its_name() {
    let folder = Scratch::new("around");
    for words in ["--threads 3 --io pread doctor --show-config", "doctor --show-config --threads 3 --io pread"] {
        let output = run(&folder.0, words);
        expect(&output, 0, &["threads = \"3\"", "io = \"pread\""], words);
    }
}

#[test]
fn flag_over_environment_over_file_over_default() {
    let folder = Scratch::new("precedence");
    folder.write("a.toml", "threads = 5\nio = \"pread\"\n");
    let origin_of = |words: &str, variable: Option<&str>| {
        let mut command = tomolith(&folder.0);
        if let Some(value) = variable {
            command.env("TOMOLITH_THREADS", value);
        }
        let output = command.args(words.split_whitespace()).output().unwrap();
        expect(&output, 0, &[], words);
        stdout(&output).lines().find(|l| l.starts_with("threads = ")).unwrap().to_string()
    };
    let all = "doctor --show-config --config a.toml --threads 7";
    for (line, value, origin) in [
        (origin_of(all, Some("6")), "\"7\"", "command line"),
        (origin_of("doctor --show-config --config a.toml", Some("6")), "\"6\"", "environment TOMOLITH_THREADS"),
        (origin_of("doctor --show-config --config a.toml", None), "\"5\"", "a.toml line 1"),
        (origin_of("doctor --show-config", None), "\"auto\"", "default"),
        (origin_of("doctor --show-config", Some("")), "\"auto\"", "default"),
    ] {
        assert!(line.contains(value) && line.ends_with(origin), "{line}, wanted {value} from {origin}");
    }
}

#[test]
fn what_show_config_prints_is_a_configuration_file() {
    let folder = Scratch::new("roundtrip");
    let first = run(&folder.0, "doctor --show-config --threads 2 -q --io pread");
    folder.write("again.toml", &first.stdout);
    let second = run(&folder.0, "doctor --show-config --config again.toml");
    expect(&second, 0, &[], "the printed configuration");
    let values = |o: &Output| -> Vec<String> {
        let keep = |l: &&str| !l.starts_with('#');
        stdout(o).lines().filter(keep).map(|l| l.split('#').next().unwrap().trim().to_string()).collect()
    };
    assert_eq!(values(&first), values(&second));
}

#[test]
fn environment_variables_of_no_option_are_refused() {
    let folder = Scratch::new("environment");
    let with = |name: &str, value: &str| {
        tomolith(&folder.0).arg("doctor").arg("--show-config").env(name, value).output().unwrap()
    };
    expect(&with("TOMOLITH_THREDS", "1"), 2, &["TOMOLITH_THREDS", "did you mean TOMOLITH_THREADS"], "a typing error");
    expect(&with("TOMOLITH_THREADS", "0"), 2, &["TOMOLITH_THREADS", "'0'"], "a bad value names its variable");
    expect(&with("TOMOLITH_QUIET", "yes"), 2, &["TOMOLITH_QUIET", "known: true, false"], "a switch");
    expect(&with("TOMOLITH_TEST_DATA", "x"), 0, &[], "a variable of the tests");
    expect(&with("TOMOLITH_CONFIG", "none.toml"), 66, &["none.toml"], "the file named by the environment");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = Scratch::new("pipe");
    for words in [&["--help"][..], &["doctor"], &["doctor", "--show-config"]] {
        let mut child = tomolith(&folder.0).args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Closed before anything is read: the first write meets a broken pipe, unless it was quicker.
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(matches!(output.status.code(), Some(141 | 0)), "{words:?}: {:?}", output.status);
        assert!(output.stderr.is_empty(), "{words:?}: {}", stderr(&output));
    }
}

#[test]
fn a_full_disk_behind_stdout_is_an_error() {
    if !Path::new("/dev/full").exists() {
        println!("skipped: there is no /dev/full");
        return;
    }
    let folder = Scratch::new("full");
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = tomolith(&folder.0).arg("--help").stdout(full).output().unwrap();
    expect(&output, 74, &["standard output"], "help to a full disk");
}

#[test]
fn names_that_are_no_text_are_taken_as_they_are() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = Scratch::new("bytes");
    let name = OsStr::from_bytes(b"conf\xff.toml");
    std::fs::write(folder.0.join(name), "threads = 3\n").unwrap();
    let output = tomolith(&folder.0).arg("doctor").arg("--show-config").arg("--config").arg(name).output().unwrap();
    expect(&output, 0, &["threads = \"3\""], "a name that is not UTF-8");
}

#[test]
fn doctor_finds_this_machine_fit() {
    let folder = Scratch::new("doctor");
    let output = run(&folder.0, "doctor");
    expect(&output, 0, &["self-test", "scalar", "instruction sets", "ok"], "doctor");
    assert!(!stdout(&output).contains("FAIL"), "{}", stdout(&output));
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 0, "doctor leaves nothing behind");
}

#[test]
fn the_log_holds_one_object_per_line() {
    let folder = Scratch::new("log");
    let output = run(&folder.0, "doctor --threads 0 --log-json log");
    expect(&output, 2, &[], "refused before the log is opened");
    let output = run(&folder.0, "doctor --log-json log -v");
    expect(&output, 0, &[], "doctor with a log");
    let log = std::fs::read_to_string(folder.0.join("log")).unwrap();
    assert!(log.lines().all(|l| l.starts_with("{\"") && l.ends_with('}')), "{log}");
}

#[test]
fn a_status_file_says_how_a_job_ended() {
    let folder = Scratch::new("status");
    folder.write("a.npy", npy(&[2, 3, 4], &[1.0; 24]));
    expect(&run(&folder.0, "convert a.npy b.mhd --status s.json"), 0, &[], "status");
    let text = std::fs::read_to_string(folder.0.join("s.json")).unwrap();
    assert!(text.contains("\"state\":\"complete\"") && text.contains("\"pid\""), "{text}");
    expect(&run(&folder.0, "convert none.npy c.mhd --status s.json"), 66, &[], "status");
    let text = std::fs::read_to_string(folder.0.join("s.json")).unwrap();
    assert!(text.contains("\"state\":\"failed\"") && text.contains("\"exit\":66"), "{text}");
    expect(&run(&folder.0, "convert a.npy d.mhd --status none/s.json"), 73, &["none/s.json"], "status");
}
