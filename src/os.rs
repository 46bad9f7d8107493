//! L1. What the operating system is asked for beyond `std`: preallocation, free space, signals, huge pages,
//! and opening files so that neither a pipe nor a link can surprise.
//!
//! The state of the process that lives here: one interrupt flag, and the table of mapped files that lets the
//! SIGBUS handler name the file. Both are atomics, because signal handlers may touch nothing else.
#![allow(unsafe_code)]

use crate::error::{Error, Result};
use std::ffi::CString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

// ---- files ----

/// A file whose exclusive lock this process holds. The lock ends with it, or with the process: none is left behind.
#[derive(Debug)]
pub struct LockedFile(File);

impl std::ops::Deref for LockedFile {
    type Target = File;
    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        // Closing is not enough: a process that is just being started may hold a copy of the descriptor.
        let _ = self.0.unlock();
    }
}

/// Takes the exclusive lock (`flock`) of an open file without waiting; `None` when another process holds it.
///
/// # Errors
/// What the operating system says, for example on a file system without locks.
pub fn lock_exclusive(file: File) -> io::Result<Option<LockedFile>> {
    match file.try_lock() {
        Ok(()) => Ok(Some(LockedFile(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// Makes sure that the first `length` bytes of `file` have their place on the disk, so that a full disk is met
/// before any work. Bytes that are there already stay; new ones are zero. Where the file system cannot reserve
/// space, zeros are written.
///
/// # Errors
/// [`io::ErrorKind::StorageFull`] and whatever else the operating system says.
pub fn preallocate(file: &File, length: u64) -> io::Result<()> {
    let present = file.metadata()?.len();
    if present >= length {
        return Ok(());
    }
    if reserve(file, length)? {
        return Ok(());
    }
    let zeros = vec![0; 1 << 20];
    let mut at = present;
    while at < length {
        let n = zeros.len().min((length - at) as usize);
        file.write_all_at(&zeros[..n], at)?;
        at += n as u64;
    }
    Ok(())
}

/// Gives free memory back to the system: glibc keeps pieces of large blocks between threads, and a run of many large steps
/// grows by them (25 synthetic scans: from 0.28 to 1.0 GB).
pub fn give_memory_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: no pointer is passed, and other threads may allocate meanwhile.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// `fallocate(2)`; `false` where the file system does not know it.
#[cfg(target_os = "linux")]
fn reserve(file: &File, length: u64) -> io::Result<bool> {
    let length = libc::off_t::try_from(length).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    loop {
        // SAFETY: the descriptor is open for the duration of the borrow; no pointer is passed.
        let status = unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, length) };
        if status == 0 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::EOPNOTSUPP | libc::ENOSYS) => return Ok(false),
            _ => return Err(error),
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn reserve(_file: &File, _length: u64) -> io::Result<bool> {
    Ok(false)
}

/// Bytes of memory that this process may still take: what the machine has available, and what its control group leaves.
/// Where neither says, 4 GiB.
pub fn free_memory() -> u64 {
    let number = |path: &str| std::fs::read_to_string(path).ok().and_then(|t| t.trim().parse::<u64>().ok());
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|l| l.starts_with("MemAvailable:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
    });
    // Version 2 of control groups, then version 1; inside a container the group is at the root.
    let group = [
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ];
    let left = group.iter().filter_map(|(max, used)| Some(number(max)?.saturating_sub(number(used)?))).min();
    match (machine, left) {
        (Some(a), Some(b)) => a.min(b),
        (Some(a), None) | (None, Some(a)) => a,
        (None, None) => 4 << 30,
    }
}

/// Bytes that this user may still write on the file system of `path`.
///
/// # Errors
/// What the operating system says about `path`.
pub fn free_space(path: &Path) -> io::Result<u64> {
    let path = CString::new(or_here(path).as_os_str().as_bytes())?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `path` ends in NUL and `stat` is writable; both live across the call.
    if unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: statvfs returned 0, so it filled the structure.
    let stat = unsafe { stat.assume_init() };
    // The types of the two fields differ between platforms.
    #[allow(clippy::unnecessary_cast)]
    Ok((stat.f_bavail as u64).saturating_mul(stat.f_frsize as u64))
}

/// The folder of a bare file name is the empty path.
fn or_here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

/// What a failed write to `path`, a file of `needed` bytes in all, tells: of a full disk also how much is free.
pub fn write_error(path: &Path, needed: u64, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            no_space(path, needed)
        }
        _ => Error::writing(path, error),
    }
}

/// There is no space for `path`, a file of `needed` bytes.
pub fn no_space(path: &Path, needed: u64) -> Error {
    let free = free_space(path.parent().unwrap_or(Path::new("")));
    let free = free.map_or("an unknown number of".to_owned(), |n| n.to_string());
    Error::io(format!("no space: the file needs {needed} bytes, the disk has {free} bytes free"))
        .help("free some space or raise the limit (ulimit -f), then run the same command again")
        .at(path)
}

/// Makes creations, renames and removals in a folder survive a power loss.
///
/// # Errors
/// What the operating system says; a file system that cannot sync folders is not an error.
pub fn fsync_dir(path: &Path) -> io::Result<()> {
    match File::open(or_here(path))?.sync_all() {
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        other => other,
    }
}

/// Opens a regular file for reading. Pipes, devices, sockets and folders are refused without opening or blocking.
///
/// # Errors
/// Missing or unreadable files as [`Error::reading`] sorts them; [`Fault::Data`](crate::error::Fault::Data) for
/// anything that is not a regular file.
pub fn open_regular(path: &Path) -> Result<File> {
    let reading = |e: io::Error| Error::reading(path, &e);
    refuse_special(path, &std::fs::metadata(path).map_err(reading)?)?;
    // Between the look and the opening the path may have become a pipe: O_NONBLOCK, and look again.
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path).map_err(reading)?;
    refuse_special(path, &file.metadata().map_err(reading)?)?;
    Ok(file)
}

fn refuse_special(path: &Path, metadata: &std::fs::Metadata) -> Result<()> {
    use std::os::unix::fs::FileTypeExt as _;
    let kind = metadata.file_type();
    let name = match kind {
        k if k.is_file() => return Ok(()),
        k if k.is_dir() => return Err(Error::reading(path, &io::ErrorKind::IsADirectory.into())),
        k if k.is_fifo() => "a named pipe",
        k if k.is_socket() => "a socket",
        _ => "a device",
    };
    Err(Error::data(format!("is {name}, not a regular file")).at(path).help("name a regular file"))
}

/// Creates a file that must not exist yet, for reading and writing; a link in its place is not followed.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] and whatever else the operating system says.
pub fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW)
        .open(path)
}

/// Opens an own file that may be left from before, for reading and writing; `None` when there is none.
/// A link, pipe or device in its place is refused.
///
/// # Errors
/// What the operating system says; [`io::ErrorKind::InvalidInput`] for what is not a regular file.
pub fn open_own(path: &Path) -> io::Result<Option<File>> {
    let flags = libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    match OpenOptions::new().read(true).write(true).custom_flags(flags).open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
        Ok(file) if file.metadata()?.is_file() => Ok(Some(file)),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}

/// Asks for huge pages under a large block, which makes strided passes over it cheaper. Only advice: where it is
/// not taken nothing changes but speed.
pub fn advise_huge_pages<T>(block: &mut [T]) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 2 << 20;
        let start = block.as_ptr() as usize;
        let first = start.next_multiple_of(PAGE);
        let end = (start + std::mem::size_of_val(block)) / PAGE * PAGE;
        if end > first {
            // SAFETY: [first, end) lies inside the block, which is borrowed mutably; the advice changes no byte.
            unsafe { libc::madvise(first as *mut libc::c_void, end - first, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = block;
}

/// Says that bytes of a file are read next: Linux fetches them meanwhile. Only advice.
pub fn will_read(file: &std::fs::File, at: u64, length: u64) {
    #[cfg(target_os = "linux")]
    {
        let fd = std::os::fd::AsRawFd::as_raw_fd(file);
        let range = [at, length].map(|n| libc::off_t::try_from(n).unwrap_or(libc::off_t::MAX));
        // SAFETY: the descriptor is open as long as `file` is borrowed; the advice changes no byte and no position.
        unsafe { libc::posix_fadvise(fd, range[0], range[1], libc::POSIX_FADV_WILLNEED) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, at, length);
}

/// Lets a child end with this process, however that ends: what it leaves behind would write where the next run does. Only
/// Linux does so.
pub fn ends_with_us(child: &mut std::process::Command) -> &mut std::process::Command {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::process::CommandExt as _;
        let ask = || -> io::Result<()> {
            // SAFETY: prctl is async-signal-safe; this asks for a signal and touches no memory.
            match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        };
        // SAFETY: between fork and exec only the system call above is made, and nothing is allocated.
        unsafe { child.pre_exec(ask) };
    }
    child
}

/// Asks a child to end in an orderly way, as SIGTERM does. It must not have been waited for: its number could be another's by then.
pub fn ask_to_end(child: &std::process::Child) {
    // SAFETY: kill touches no memory; a child that nobody has waited for keeps its number.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
}

// ---- interrupts ----

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_interrupt(signal: libc::c_int) {
    let again = INTERRUPTED.swap(true, Ordering::SeqCst);
    if again && signal == libc::SIGINT {
        // SAFETY: _exit is async-signal-safe and does not return.
        unsafe { libc::_exit(128 + signal) };
    }
}

/// From now on SIGINT and SIGTERM only set a flag, which work looks at between slabs ([`check_interrupt`]).
/// A SIGINT after that ends the process at once. A file-size limit (`ulimit -f`) becomes an ordinary write error.
pub fn install_interrupt_handler() {
    install(libc::SIGXFSZ, libc::SIG_IGN, 0);
    let handler: extern "C" fn(libc::c_int) = on_interrupt;
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // A system call in progress is restarted: the work notices the flag at its next look.
        // A failure leaves the default, which ends the process: outputs survive that too.
        install(signal, handler as usize, libc::SA_RESTART);
    }
}

/// Installs a handler; the action before it, if that worked. Other signals wait until it is done: of two that are pending Linux
/// takes SIGINT first, which would end the process if SIGTERM's handler could be put above its own.
fn install(signal: libc::c_int, handler: usize, flags: libc::c_int) -> Option<libc::sigaction> {
    // SAFETY: an all-zero sigaction is a valid value: default action, empty mask, no flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: the mask is the structure's own.
    unsafe { libc::sigfillset(&mut action.sa_mask) };
    // SAFETY: all-zero is a valid value here, too.
    let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: both structures live across the call; the handler has the signature that `flags` announces.
    let status = unsafe { libc::sigaction(signal, &action, &mut before) };
    (status == 0).then_some(before)
}

/// Whether SIGINT or SIGTERM came.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Ends work in an orderly way after SIGINT or SIGTERM.
///
/// # Errors
/// [`Fault::Again`](crate::error::Fault::Again) when interrupted.
pub fn check_interrupt() -> Result<()> {
    if interrupted() {
        return Err(Error::again("interrupted").help("run the same command again: it goes on where it stopped"));
    }
    Ok(())
}

// ---- truncation of a mapped file ----

/// Mapped files that are named at a time; a reader that gets no place reads without a map.
const MAPS: usize = 64;
/// Longest part of a file name that is kept for the message.
const MAP_NAME: usize = 240;
/// Exit code of [`Fault::Io`](crate::error::Fault::Io), as a constant for the handler.
const EXIT_IO: libc::c_int = 74;

/// One mapped file. `end` is 0 while the entry is not valid.
struct MapEntry {
    taken: AtomicBool,
    start: AtomicUsize,
    end: AtomicUsize,
    name_len: AtomicUsize,
    name: [AtomicU8; MAP_NAME],
}

static MAP_TABLE: [MapEntry; MAPS] = [const {
    MapEntry {
        taken: AtomicBool::new(false),
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        name_len: AtomicUsize::new(0),
        name: [const { AtomicU8::new(0) }; MAP_NAME],
    }
}; MAPS];

/// What SIGBUS did before; handed back when the fault is not in one of our maps.
static BEFORE_SIGBUS: OnceLock<Option<libc::sigaction>> = OnceLock::new();

/// As long as this lives, touching a page of the named map that its file lost ends the process with one clear
/// line and exit code 74 instead of a crash.
pub struct MapGuard {
    entry: &'static MapEntry,
}

/// Enters a map into the table of the SIGBUS handler, installing the handler at the first call.
/// `None` when the table is full or there is no handler: then read without a map.
pub fn guard_map(map: &[u8], path: &Path) -> Option<MapGuard> {
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_bus_error;
    let before =
        BEFORE_SIGBUS.get_or_init(|| install(libc::SIGBUS, handler as usize, libc::SA_SIGINFO | libc::SA_ONSTACK));
    before.as_ref()?;
    let free = |e: &&MapEntry| e.taken.compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    let entry = MAP_TABLE.iter().find(free)?;
    // The end of a long path says more than its beginning.
    let name = path.as_os_str().as_bytes();
    let name = &name[name.len().saturating_sub(MAP_NAME)..];
    for (to, &from) in entry.name.iter().zip(name) {
        to.store(if from.is_ascii_control() { b'?' } else { from }, Ordering::Relaxed);
    }
    entry.name_len.store(name.len(), Ordering::Relaxed);
    entry.start.store(map.as_ptr() as usize, Ordering::Relaxed);
    entry.end.store(map.as_ptr() as usize + map.len(), Ordering::Release);
    Some(MapGuard { entry })
}

impl Drop for MapGuard {
    fn drop(&mut self) {
        self.entry.end.store(0, Ordering::Release);
        self.entry.taken.store(false, Ordering::Release);
    }
}

/// Async-signal-safe: atomics, `write` and `_exit` only.
extern "C" fn on_bus_error(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo.
    let info = unsafe { &*info };
    // SAFETY: for SIGBUS the address field is the one that is set.
    let address = unsafe { info.si_addr() } as usize;
    let hit =
        MAP_TABLE.iter().find(|e| (e.start.load(Ordering::Relaxed)..e.end.load(Ordering::Acquire)).contains(&address));
    if let Some(entry) = hit {
        const WHAT: &[u8] =
            b": a mapped file was truncated while it was read\n  help: restore the file and run again; \
            `--io pread` reports this as an ordinary error\n";
        const ERROR: &[u8] = b"error: ";
        let mut text = [0; ERROR.len() + MAP_NAME + WHAT.len()];
        let name = entry.name.iter().take(entry.name_len.load(Ordering::Relaxed)).map(|b| b.load(Ordering::Relaxed));
        let mut length = 0;
        for (to, from) in text.iter_mut().zip(ERROR.iter().copied().chain(name).chain(WHAT.iter().copied())) {
            *to = from;
            length += 1;
        }
        // SAFETY: `text` holds `length` initialised bytes.
        unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), length) };
        // SAFETY: _exit is async-signal-safe and does not return.
        unsafe { libc::_exit(EXIT_IO) };
    }
    // Not ours: the handler before us gets the same fault again when the instruction is repeated.
    if let Some(Some(before)) = BEFORE_SIGBUS.get() {
        // SAFETY: `before` was filled by sigaction; no old action is asked for.
        unsafe { libc::sigaction(signal, before, std::ptr::null_mut()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Fault;
    use crate::testing::Scratch;
    use std::process::Command;

    /// Runs the test `name` of this file in a process of its own, because it ends or interrupts that process.
    fn in_own_process(name: &str) -> std::process::Output {
        Command::new(std::env::current_exe().unwrap())
            .args([&format!("os::tests::{name}"), "--exact", "--ignored", "--nocapture"])
            .output()
            .unwrap()
    }

    #[test]
    fn a_second_lock_is_refused_and_ends_with_its_file() {
        let scratch = Scratch::new("os");
        let path = scratch.join("lock");
        let first = lock_exclusive(create_new(&path).unwrap()).unwrap();
        assert!(first.is_some());
        let second = || lock_exclusive(open_own(&path).unwrap().unwrap()).unwrap();
        assert!(second().is_none());
        drop(first);
        assert!(second().is_some());
    }

    #[test]
    fn preallocation_keeps_what_is_there_and_fills_with_zeros() {
        let scratch = Scratch::new("os");
        let file = create_new(&scratch.join("a")).unwrap();
        file.write_all_at(b"abc", 0).unwrap();
        preallocate(&file, 5000).unwrap();
        let bytes = std::fs::read(scratch.join("a")).unwrap();
        assert_eq!((bytes.len(), &bytes[..4]), (5000, &b"abc\0"[..]));
        preallocate(&file, 10).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 5000);
        assert!(free_space(scratch.path()).unwrap() > 0);
        fsync_dir(scratch.path()).unwrap();
    }

    #[test]
    fn only_regular_files_are_opened() {
        let scratch = Scratch::new("os");
        let pipe = scratch.join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(open_regular(&pipe).unwrap_err().fault(), Fault::Data);
        assert_eq!(open_regular(Path::new("/dev/null")).unwrap_err().fault(), Fault::Data);
        assert_eq!(open_regular(scratch.path()).unwrap_err().fault(), Fault::Missing);
        assert_eq!(open_regular(&scratch.join("none")).unwrap_err().fault(), Fault::Missing);
        assert!(open_own(&pipe).is_err());
        std::os::unix::fs::symlink("target", scratch.join("link")).unwrap();
        assert!(create_new(&scratch.join("link")).is_err() && open_own(&scratch.join("link")).is_err());
        assert!(!scratch.join("target").exists());
    }

    #[test]
    fn huge_page_advice_changes_nothing() {
        let mut block: Vec<f32> = (0..(3 << 20)).map(|i| i as f32).collect();
        advise_huge_pages(&mut block);
        advise_huge_pages(&mut block[..10]);
        assert!(block.iter().enumerate().all(|(i, &v)| v == i as f32));
    }

    fn raise(signal: libc::c_int) {
        // SAFETY: what is raised has a handler.
        unsafe { libc::raise(signal) };
    }

    #[test]
    #[ignore = "runs in a process of its own, started by interrupts_set_the_flag"]
    fn child_interrupted_twice() {
        install_interrupt_handler();
        assert!(check_interrupt().is_ok());
        raise(libc::SIGTERM);
        assert_eq!(check_interrupt().unwrap_err().fault(), Fault::Again);
        raise(libc::SIGINT);
        std::process::exit(99);
    }

    /// As a child that a terminal and its parent interrupt at once.
    #[test]
    #[ignore = "runs in a process of its own, started by interrupts_set_the_flag"]
    fn child_interrupted_by_both() {
        install_interrupt_handler();
        // SAFETY: an all-zero set is an empty one.
        let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: the set is its own.
        unsafe { libc::sigfillset(&mut all) };
        // SAFETY: the set lives across the call; nothing is asked for.
        let mask = |how| unsafe { libc::pthread_sigmask(how, &all, std::ptr::null_mut()) };
        mask(libc::SIG_BLOCK);
        [libc::SIGINT, libc::SIGTERM].into_iter().for_each(raise);
        assert!(!interrupted());
        mask(libc::SIG_UNBLOCK);
        std::process::exit(if interrupted() { 98 } else { 99 });
    }

    #[test]
    fn interrupts_set_the_flag_and_the_second_ends_the_process() {
        if cfg!(target_os = "linux") {
            assert_eq!(in_own_process("child_interrupted_by_both").status.code(), Some(98));
        }
        assert_eq!(in_own_process("child_interrupted_twice").status.code(), Some(130));
    }

    /// Maps a file of two pages, truncates it and touches the lost page.
    fn lose_a_page(guarded: bool) {
        let scratch = Scratch::new("os");
        let path = scratch.join("victim.raw");
        std::fs::write(&path, vec![1; 1 << 16]).unwrap();
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        // SAFETY: the process ends at the truncation that follows.
        let map = unsafe { memmap2::Mmap::map(&file) }.unwrap();
        let guard = guard_map(&map, &path).unwrap();
        if !guarded {
            drop(guard);
        } else {
            std::mem::forget(guard);
        }
        file.set_len(0).unwrap();
        std::fs::remove_dir_all(scratch.path()).unwrap();
        std::process::exit(i32::from(std::hint::black_box(map[5000])));
    }

    #[test]
    #[ignore = "runs in a process of its own, started by a_truncated_map_ends_with_one_line"]
    fn child_touches_a_lost_page() {
        lose_a_page(true);
    }

    #[test]
    #[ignore = "runs in a process of its own, started by a_truncated_map_ends_with_one_line"]
    fn child_touches_a_lost_page_unguarded() {
        lose_a_page(false);
    }

    #[test]
    fn a_truncated_map_ends_with_one_line_and_its_exit_code() {
        use std::os::unix::process::ExitStatusExt as _;
        let output = in_own_process("child_touches_a_lost_page");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(EXIT_IO), "{text}");
        assert!(text.contains("victim.raw: a mapped file was truncated while it was read"), "{text}");
        assert_eq!(EXIT_IO, i32::from(Fault::Io.exit_code()));
        // A fault elsewhere stays what it was: death by signal.
        assert_eq!(in_own_process("child_touches_a_lost_page_unguarded").status.signal(), Some(libc::SIGBUS));
    }
}
