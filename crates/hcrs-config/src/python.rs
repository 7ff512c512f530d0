//! Evaluates a configuration in Python by one short run of an interpreter, which prints it as TOML.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::file::MAX_FILE_BYTES;

/// Script that prints the settings of a configuration in Python; output of the configuration goes to standard
/// error.
const EVALUATE: &str = include_str!("evaluate.py");
/// Time limit for a run of the script.
const DEADLINE: Duration = Duration::from_secs(20);
/// Interval at which the exit of the interpreter is polled.
const PAUSE: Duration = Duration::from_millis(2);

/// Configuration in Python.
#[derive(Debug, Default)]
pub struct Script<'a> {
    /// Kind of `target`: `file` for a path, `python` for a module.
    pub kind: &'a str,
    /// Path or module.
    pub target: &'a str,
    /// Names whose values are printed even if they are callable.
    pub callables: &'a [&'a str],
    /// Environment variables of the run beside those of this process.
    pub environment: &'a [(String, String)],
    /// Working directory of the run, if it differs from that of this process.
    pub folder: Option<&'a Path>,
}

impl Script<'_> {
    /// Evaluates the configuration with this interpreter and returns it as TOML. The error is for the
    /// operator.
    pub fn evaluate(&self, python: &Path) -> Result<String, String> {
        let name = python.display();
        let mut command = Command::new(python);
        if let Some(folder) = self.folder {
            command.current_dir(folder);
        }
        let mut child = command
            .args(["-c", EVALUATE, self.kind, self.target])
            .args(self.callables)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run {name}: {error}; name another interpreter with --python"))?;
        let output = child.stdout.take().map(read);
        let errors = child.stderr.take().map(read);
        let until = Instant::now() + DEADLINE;
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < until => thread::sleep(PAUSE),
                Ok(None) => {
                    let _killed = child.kill().and_then(|()| child.wait()); // it may just have ended
                    return Err(format!(
                        "{name} did not evaluate the configuration in {} s; remove blocking calls from it",
                        DEADLINE.as_secs()
                    ));
                }
                Err(error) => return Err(format!("cannot wait for {name}: {error}")),
            }
        };
        let text = |pipe: Option<Receiver<io::Result<Vec<u8>>>>| {
            // A process that the configuration left behind may hold the pipe open.
            let bytes = pipe.and_then(|pipe| pipe.recv_timeout(DEADLINE).ok()).and_then(Result::ok);
            String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
        };
        let (output, errors) = (text(output), text(errors));
        if status.success() {
            return Ok(output);
        }
        Err(format!("the configuration failed in {name}:\n{}", errors.trim_end()))
    }
}

fn read(pipe: impl Read + Send + 'static) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = pipe.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map(|_| bytes);
        let _receiver_is_gone = sender.send(read);
    });
    receiver
}
