//! A configuration in Python: one short run of an interpreter tells what it comes to, as TOML.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Prints the settings of a configuration in Python; what else is printed goes to standard error.
const EVALUATE: &str = include_str!("evaluate.py");
/// How long that may take.
const DEADLINE: Duration = Duration::from_secs(20);
/// How often it is asked whether the interpreter has ended.
const PAUSE: Duration = Duration::from_millis(2);

/// A configuration in Python.
#[derive(Debug, Default)]
pub(crate) struct Script<'a> {
    /// What `target` is: a path if it is `file`, a module if it is `python`.
    pub(crate) kind: &'a str,
    pub(crate) target: &'a str,
    /// Names that are told even if they are callable.
    pub(crate) told: &'a [&'a str],
    /// Variables that it sees beside those of this process.
    pub(crate) environment: &'a [(String, String)],
    /// The folder that it is evaluated in, if it is another one.
    pub(crate) folder: Option<&'a Path>,
}

/// Evaluates a configuration. The error is for the operator.
pub(crate) fn evaluate(python: &Path, script: &Script<'_>, most_bytes: u64) -> Result<String, String> {
    let name = python.display();
    let mut command = Command::new(python);
    if let Some(folder) = script.folder {
        command.current_dir(folder);
    }
    let mut child = command
        .args(["-c", EVALUATE, script.kind, script.target])
        .args(script.told)
        .envs(script.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{name} cannot be run: {error}"))?;
    let printed = child.stdout.take().map(|pipe| read(pipe, most_bytes));
    let said = child.stderr.take().map(|pipe| read(pipe, most_bytes));
    let until = Instant::now() + DEADLINE;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < until => thread::sleep(PAUSE),
            Ok(None) => {
                let _killed = child.kill().and_then(|()| child.wait()); // it may just have ended
                return Err(format!("{name} took longer than {} s to evaluate it", DEADLINE.as_secs()));
            }
            Err(error) => return Err(format!("{name} cannot be waited for: {error}")),
        }
    };
    let text = |pipe: Option<Receiver<io::Result<Vec<u8>>>>| {
        // A process that the configuration left behind may hold the pipe open.
        let bytes = pipe.and_then(|pipe| pipe.recv_timeout(DEADLINE).ok()).and_then(Result::ok);
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    };
    let (printed, said) = (text(printed), text(said));
    if status.success() {
        return Ok(printed);
    }
    Err(format!("it cannot be evaluated by {name}:\n{}", said.trim_end()))
}

fn read(pipe: impl Read + Send + 'static, most_bytes: u64) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = pipe.take(most_bytes).read_to_end(&mut bytes).map(|_| bytes);
        let _gave_up = sender.send(read);
    });
    receiver
}
