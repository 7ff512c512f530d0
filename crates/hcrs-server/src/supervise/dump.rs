//! The stacks of all workers, for `hcrs dump`. The workers are asked over their pulses, and go on.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use tokio::sync::oneshot;

use super::Supervisor;
use crate::origin::admin::Reply;
use crate::origin::app::WorkerId;

/// The stacks that workers are asked for, and those who wait for them.
#[derive(Debug, Default)]
pub(super) struct Dump {
    /// The workers that have not reported theirs, with their process ids.
    waiting: BTreeMap<WorkerId, u32>,
    text: String,
    replies: Vec<oneshot::Sender<Reply>>,
}

impl Dump {
    /// Takes the stacks of a worker. Returns false if it was not asked.
    fn take(&mut self, id: WorkerId, stacks: Option<&str>) -> bool {
        let Some(pid) = self.waiting.remove(&id) else { return false };
        let _infallible = match stacks {
            Some(stacks) => writeln!(self.text, "Worker {pid}:\n{}\n", stacks.trim_end()),
            None => writeln!(self.text, "Worker {pid} did not report its stacks\n"),
        };
        true
    }
}

impl Supervisor<'_> {
    /// Asks all workers for their stacks. Those who ask meanwhile get the same answer.
    pub(super) fn dump(&mut self, reply: oneshot::Sender<Reply>) {
        self.dump.replies.push(reply);
        if self.dump.waiting.is_empty() {
            let workers: Vec<_> = self.workers().map(|worker| (worker.id, worker.pid)).collect();
            for (id, pid) in workers {
                if self.ask_for_dump(id) {
                    self.dump.waiting.insert(id, pid);
                }
            }
        }
        self.finish_dump();
    }

    /// Takes the stacks of a worker, unless it hangs and is to be killed. Returns whether it was asked here.
    pub(super) fn take_dump(&mut self, id: WorkerId, stacks: Option<&str>) -> bool {
        let is_of_dump = self.dump.take(id, stacks);
        if is_of_dump {
            self.finish_dump();
        }
        is_of_dump
    }

    fn finish_dump(&mut self) {
        if !self.dump.waiting.is_empty() {
            return;
        }
        let Dump { text, replies, .. } = std::mem::take(&mut self.dump);
        for reply in replies {
            let answer = if text.is_empty() {
                Reply::text(
                    409,
                    "no worker can be asked for its stacks: worker_timeout is 0, or none is ready",
                )
            } else {
                Reply::text(200, text.trim_end())
            };
            let _gone = reply.send(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_taken_from_workers_that_were_asked() {
        let mut dump = Dump::default();
        dump.waiting.extend([(1, 100), (2, 200)]);
        assert!(dump.take(1, Some("line 1\nline 2\n")) && dump.take(2, None));
        assert!(!dump.take(1, Some("again")) && !dump.take(3, None));
        assert_eq!(dump.text, "Worker 100:\nline 1\nline 2\n\nWorker 200 did not report its stacks\n\n");
    }
}
