//! The state of a server as lines of a terminal.

use std::collections::VecDeque;
use std::fmt::Write as _;

use crate::quantity::{count, long, number, short, size};
use crate::status::{Latency, NameState, State, Status, Worker};

/// The most reports that the latency's curve shows.
const CURVE: usize = 24;

/// The steps of the curve, from the shortest time to the longest.
const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The time before the end of a certificate from which on it is marked: most are renewed earlier.
const CERTIFICATE_SOON: f64 = 14.0 * 86400.0;

/// The space before the reason of a failure, and the most lines that it has.
const FAILURE_INDENT: &str = "            ";
const FAILURE_LINES: usize = 4;

/// The look of the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// The columns of the terminal.
    pub width: usize,
    /// The most lines; `None` for all.
    pub height: Option<usize>,
    /// Whether colors are used.
    pub has_colors: bool,
}

/// Draws reports one after the other, and compares each with the one before.
#[derive(Debug, Default)]
pub struct View {
    last: Option<Status>,
    /// The 99th percentile between any two reports, the latest last.
    latencies: VecDeque<Option<f64>>,
}

/// The requests that have ended since the report before, or since the start.
#[derive(Debug)]
struct Period {
    requests: u64,
    latency: Latency,
    seconds: f64,
}

/// The meaning of a text, which decides its color.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Plain,
    Heading,
    Good,
    Doubtful,
    Bad,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Heading => "\x1b[1m",
            Self::Good => "\x1b[32m",
            Self::Doubtful => "\x1b[33m",
            Self::Bad => "\x1b[31m",
        }
    }
}

/// A line under construction. What exceeds the width is cut off.
struct Line {
    look: Look,
    columns: usize,
    text: String,
}

impl Line {
    fn new(look: Look) -> Self {
        Self { look, columns: 0, text: String::new() }
    }

    fn push(&mut self, tone: Tone, text: &str) {
        let shown: String = text.chars().take(self.look.width.saturating_sub(self.columns)).collect();
        if shown.is_empty() {
            return;
        }
        self.columns += shown.chars().count();
        if self.look.has_colors && tone != Tone::Plain {
            let _infallible = write!(self.text, "{}{shown}\x1b[0m", tone.code());
        } else {
            self.text.push_str(&shown);
        }
    }

    /// Fills up to a column with spaces.
    fn pad_to(&mut self, column: usize) {
        let spaces = column.saturating_sub(self.columns).max(1);
        self.push(Tone::Plain, &" ".repeat(spaces));
    }
}

impl View {
    /// Returns the lines that show a report, which was made `elapsed` seconds after the one before.
    pub fn draw(&mut self, status: &Status, elapsed: f64, look: Look) -> Vec<String> {
        let before = self.last.take();
        let ended = &status.requests;
        let period = match &before {
            None => Period {
                requests: ended.total,
                latency: ended.latency.clone(),
                seconds: status.server.uptime,
            },
            Some(before) => Period {
                requests: ended.total.saturating_sub(before.requests.total),
                latency: ended.latency.since(&before.requests.latency),
                seconds: elapsed,
            },
        };
        if before.is_some() {
            self.latencies.push_back(period.latency.quantile(0.99));
            while self.latencies.len() > CURVE {
                self.latencies.pop_front();
            }
        }
        let mut lines = vec![title(status, look)];
        lines.push(self.rates(status, &period, look));
        lines.push(load(status, look));
        lines.push(String::new());
        lines.extend(workers(status, before.as_ref(), elapsed, look));
        if !status.in_flight.is_empty() {
            lines.push(String::new());
            lines.extend(requests(status, look));
        }
        lines.push(String::new());
        lines.extend(addresses(status, look));
        if let Some(height) = look.height {
            lines.truncate(height.max(1));
        }
        self.last = Some(status.clone());
        lines
    }

    /// The rate, the latencies and their curve.
    fn rates(&self, status: &Status, period: &Period, look: Look) -> String {
        let mut line = Line::new(look);
        let rate = if period.seconds > 0.0 { period.requests as f64 / period.seconds } else { 0.0 };
        let at = |share| period.latency.quantile(share).map_or_else(|| "-".to_owned(), short);
        line.push(Tone::Heading, &format!("{} requests/s", number(rate)));
        line.push(Tone::Plain, &format!("   p50 {}   p99 {}", at(0.5), at(0.99)));
        let failed = status.requests.by_status.get("5xx").copied().unwrap_or_default();
        let share = failed as f64 * 100.0 / status.requests.total.max(1) as f64;
        let tone = if share >= 1.0 { Tone::Bad } else { Tone::Plain };
        line.push(tone, &format!("   5xx {share:.1} %"));
        if self.latencies.iter().flatten().count() > 1 {
            line.push(Tone::Plain, &format!("   p99 {}", curve(&self.latencies)));
        }
        line.text
    }
}

fn title(status: &Status, look: Look) -> String {
    let server = &status.server;
    let mut line = Line::new(look);
    line.push(Tone::Heading, &format!("hcrs {}", server.version));
    let more = status.apps.len().saturating_sub(1);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    line.push(Tone::Plain, &format!("  {}{more}  ", server.app.as_deref().unwrap_or("(welcome page)")));
    let tone = match server.state {
        State::Serving => Tone::Good,
        State::Starting | State::Draining => Tone::Doubtful,
        State::NotReady => Tone::Bad,
    };
    line.push(tone, server.state.as_str());
    let rss = server.rss.map(|rss| format!("  {}", size(rss))).unwrap_or_default();
    line.push(Tone::Plain, &format!("  up {}  pid {}{rss}", long(server.uptime), server.pid));
    line.text
}

fn load(status: &Status, look: Look) -> String {
    let mut line = Line::new(look);
    let oldest = status.in_flight.first().map(|request| format!(" (oldest {})", short(request.age)));
    line.push(
        Tone::Plain,
        &format!("in flight {}{}", count(status.requests.in_flight), oldest.unwrap_or_default()),
    );
    let queue = &status.queue;
    let tone = if queue.length > 0 { Tone::Doubtful } else { Tone::Plain };
    let bytes = if queue.length > 0 { format!(" ({})", size(queue.bytes)) } else { String::new() };
    line.push(tone, &format!("   queue {}{bytes}", count(queue.length)));
    if queue.shed > 0 {
        line.push(Tone::Plain, &format!("   shed {}", count(queue.shed)));
    }
    let connections = &status.connections;
    let open = connections.by_protocol.iter().filter(|(_, open)| **open > 0);
    let open: Vec<_> = open.map(|(protocol, open)| format!("{protocol} {}", count(*open))).collect();
    let by_protocol = if open.is_empty() { String::new() } else { format!(" ({})", open.join(", ")) };
    line.push(Tone::Plain, &format!("   connections {}{by_protocol}", count(connections.open)));
    line.text
}

fn workers(status: &Status, before: Option<&Status>, elapsed: f64, look: Look) -> Vec<String> {
    let mut heading = Line::new(look);
    heading.push(Tone::Heading, "WORKER  PID       STATE      UP        RSS      CPU    IN FLIGHT  REQUESTS");
    let mut lines = vec![heading.text];
    let mut app = None;
    for worker in &status.workers {
        if status.apps.len() > 1 && app.replace(&worker.app) != Some(&worker.app) {
            lines.push(heading_of_app(&worker.app, status, look));
        }
        let mut line = Line::new(look);
        line.push(Tone::Plain, &worker.slot.to_string());
        line.pad_to(8);
        line.push(Tone::Plain, &worker.pid.to_string());
        line.pad_to(18);
        let tone = if worker.state == "ready" { Tone::Good } else { Tone::Doubtful };
        line.push(tone, &worker.state);
        line.pad_to(29);
        line.push(Tone::Plain, &long(worker.uptime));
        line.pad_to(39);
        line.push(Tone::Plain, &worker.rss.map_or_else(|| "-".to_owned(), size));
        line.pad_to(48);
        line.push(Tone::Plain, &share_of_processor(worker, before, elapsed));
        line.pad_to(55);
        line.push(Tone::Plain, &count(worker.in_flight));
        line.pad_to(66);
        line.push(Tone::Plain, &count(worker.requests));
        lines.push(line.text);
    }
    lines
}

/// The line above the workers of an app, if there are several.
fn heading_of_app(name: &str, status: &Status, look: Look) -> String {
    let mut line = Line::new(look);
    line.push(Tone::Heading, name);
    match status.apps.iter().find(|app| app.name == name) {
        Some(app) => {
            line.push(Tone::Plain, &format!("  {}  ", app.path));
            let tone = if app.ready < app.workers { Tone::Doubtful } else { Tone::Good };
            line.push(tone, &format!("{} of {} ready", app.ready, app.workers));
            let tone = if app.queue > 0 { Tone::Doubtful } else { Tone::Plain };
            line.push(tone, &format!("  queue {}", count(app.queue)));
        }
        None => line.push(Tone::Doubtful, "  is leaving"),
    }
    line.text
}

/// The share of a processor that a worker has used since the report before, or since its start.
fn share_of_processor(worker: &Worker, before: Option<&Status>, elapsed: f64) -> String {
    let Some(cpu) = worker.cpu else { return "-".to_owned() };
    let earlier = before.and_then(|before| before.workers.iter().find(|other| other.pid == worker.pid));
    let (used, time) = match earlier.and_then(|earlier| earlier.cpu) {
        Some(earlier) => (cpu - earlier, elapsed),
        None => (cpu, worker.uptime),
    };
    if time > 0.0 { format!("{:.0} %", (used / time * 100.0).max(0.0)) } else { "-".to_owned() }
}

fn requests(status: &Status, look: Look) -> Vec<String> {
    /// The most requests that are shown.
    const SHOWN: usize = 8;
    let mut heading = Line::new(look);
    heading.push(Tone::Heading, "AGE      STAGE    WORKER    PROTOCOL   REQUEST");
    let mut lines = vec![heading.text];
    for request in status.in_flight.iter().take(SHOWN) {
        let mut line = Line::new(look);
        let tone = if request.age >= 10.0 { Tone::Doubtful } else { Tone::Plain };
        line.push(tone, &short(request.age));
        line.pad_to(9);
        line.push(Tone::Plain, &request.stage);
        line.pad_to(18);
        line.push(Tone::Plain, &request.worker.map_or_else(|| "-".to_owned(), |pid| pid.to_string()));
        line.pad_to(28);
        line.push(Tone::Plain, &request.protocol);
        line.pad_to(39);
        line.push(Tone::Plain, &format!("{} {}", request.method, request.path));
        lines.push(line.text);
    }
    let more = status.requests.in_flight.saturating_sub(SHOWN as u64);
    if more > 0 {
        lines.push(format!("and {} more", count(more)));
    }
    lines
}

fn addresses(status: &Status, look: Look) -> Vec<String> {
    let mut lines = Vec::new();
    for listener in &status.listeners {
        let mut line = Line::new(look);
        line.push(Tone::Plain, if listener.admin { "admin      " } else { "listens on " });
        line.push(Tone::Plain, &listener.url);
        lines.push(line.text);
    }
    for certificate in &status.certificates {
        let mut line = Line::new(look);
        line.push(Tone::Plain, &format!("certificate {}  ", certificate.names.join(", ")));
        if certificate.left < 0.0 {
            line.push(Tone::Bad, "has ended");
        } else {
            let tone = if certificate.left < CERTIFICATE_SOON { Tone::Doubtful } else { Tone::Plain };
            line.push(tone, &format!("ends in {}", long(certificate.left)));
        }
        lines.push(line.text);
    }
    for name in &status.acme {
        let mut line = Line::new(look);
        let is_in_order = name.state == NameState::Valid && name.failures == 0;
        line.push(Tone::Plain, "acme        ");
        line.push(if is_in_order { Tone::Plain } else { Tone::Doubtful }, &name.state_words());
        lines.push(line.text);
        let failure = name.failure_words().unwrap_or_default();
        for words in wrapped(&failure, look.width.saturating_sub(FAILURE_INDENT.len())).take(FAILURE_LINES) {
            let mut line = Line::new(look);
            line.push(Tone::Plain, FAILURE_INDENT);
            line.push(Tone::Plain, &words);
            lines.push(line.text);
        }
    }
    lines
}

/// Returns a text in lines of at most so many letters, as far as its words are no longer.
fn wrapped(text: &str, width: usize) -> impl Iterator<Item = String> {
    let mut words = text.split_whitespace().peekable();
    std::iter::from_fn(move || {
        let mut line = words.next()?.to_owned();
        while let Some(word) = words.next_if(|word| line.chars().count() + 1 + word.chars().count() <= width)
        {
            line.push(' ');
            line.push_str(word);
        }
        Some(line)
    })
}

/// Draws times as a curve whose top is the longest of them.
fn curve(times: &VecDeque<Option<f64>>) -> String {
    let longest = times.iter().flatten().copied().fold(0.0, f64::max);
    let step = |time: f64| {
        let share = if longest > 0.0 { time / longest } else { 0.0 };
        STEPS[((share * STEPS.len() as f64) as usize).min(STEPS.len() - 1)]
    };
    times.iter().map(|time| time.map_or(' ', step)).collect()
}

#[cfg(test)]
mod tests;
