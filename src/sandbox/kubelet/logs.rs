//! What containers wrote, the last of it, for whoever asks.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{
    Stream, StreamExt,
    stream::{iter, unfold},
};
use jiff::{SignedDuration, Timestamp};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    sync::broadcast::{self, error::RecvError},
    task::JoinHandle,
};

/// How many bytes of each container are kept; the oldest lines go first.
const KEPT: usize = 64 * 1024;

/// How many lines a reader that follows may lag behind before it misses some.
const LAG: usize = 1024;

/// The logs of one kubelet's containers, restarts included, until their pod is gone. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Logs {
    buffers: Arc<Mutex<HashMap<Key, Buffer>>>,
    /// Each line as it comes; none when its container ends.
    news: broadcast::Sender<(Key, Option<Line>)>,
}

/// Namespace, pod and container.
pub(super) type Key = (String, String, String);

#[derive(Clone, Debug)]
struct Line {
    at: Timestamp,
    text: String,
}

/// The lines of a container's processes: the one that ran last, or runs, and the one before it.
#[derive(Debug, Default)]
struct Buffer {
    starts: u32,
    ended: bool,
    before: VecDeque<Line>,
    lines: VecDeque<Line>,
    bytes: usize,
}

/// What of a log is wanted, by the parameters that a kubelet takes.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Each line as it comes, too.
    pub follow: bool,
    /// Of the process before the last one.
    pub previous: bool,
    /// So many lines from the end.
    lines: Option<usize>,
    /// Nothing older.
    since: Option<Timestamp>,
    /// So many bytes from the beginning of what is told.
    bytes: Option<usize>,
    timestamps: bool,
}

impl Wanted {
    pub fn read(parameters: &[(String, String)]) -> Self {
        let find = |wanted: &str| {
            let mut named = parameters.iter().filter(|(name, _)| name == wanted);
            named.next_back().map(|(_, value)| value.as_str())
        };
        let is = |name: &str| find(name).is_some_and(|value| value == "true" || value == "1");
        let seconds = find("sinceSeconds").and_then(|seconds| seconds.parse().ok());
        let ago = seconds.and_then(|seconds| Timestamp::now().checked_sub(SignedDuration::from_secs(seconds)).ok());
        Self {
            follow: is("follow"),
            previous: is("previous"),
            lines: find("tailLines").and_then(|lines| lines.parse().ok()),
            since: ago.or_else(|| find("sinceTime")?.parse().ok()),
            bytes: find("limitBytes").and_then(|bytes| bytes.parse().ok()),
            timestamps: is("timestamps"),
        }
    }

    /// What is wanted of these lines.
    fn of(&self, lines: &VecDeque<Line>) -> Vec<String> {
        let skipped = self.lines.map_or(0, |wanted| lines.len().saturating_sub(wanted));
        let recent = |line: &&Line| self.since.is_none_or(|since| line.at >= since);
        let told = lines.iter().skip(skipped).filter(recent);
        told.map(|line| line.shown(self.timestamps)).collect()
    }
}

impl Line {
    fn shown(&self, timestamps: bool) -> String {
        if timestamps {
            format!("{:.9} {}", self.at, self.text)
        } else {
            self.text.clone()
        }
    }
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            buffers: Arc::default(),
            news: broadcast::Sender::new(LAG),
        }
    }
}

impl Logs {
    /// What the container wrote, its processes that ended included, or `None` for one that is not there or has not
    /// written anything.
    pub fn read(&self, namespace: &str, pod: &str, container: &str) -> Option<String> {
        let buffers = self.lock();
        let buffer = buffers.get(&(namespace.to_owned(), pod.to_owned(), container.to_owned()))?;
        let lines = buffer.before.iter().chain(&buffer.lines);
        let text: String = lines.flat_map(|line| [&*line.text, "\n"]).collect();
        (!text.is_empty()).then_some(text)
    }

    /// What is wanted of a log; `None` where there is no process before the last one. A container that has not written
    /// anything has an empty log.
    pub(super) fn tell(&self, key: &Key, wanted: &Wanted) -> Option<String> {
        let buffers = self.lock();
        let lines = match (buffers.get(key), wanted.previous) {
            (Some(buffer), false) => wanted.of(&buffer.lines),
            (Some(buffer), true) if buffer.starts > 1 => wanted.of(&buffer.before),
            (None, false) => Vec::new(),
            (_, true) => return None,
        };
        let mut text: String = lines.into_iter().map(|line| line + "\n").collect();
        if let Some(bytes) = wanted.bytes {
            text.truncate(text.floor_char_boundary(bytes));
        }
        Some(text)
    }

    /// What is wanted of a log, then each line that comes, until the process that writes it ends.
    pub(super) fn follow(&self, key: Key, wanted: &Wanted) -> impl Stream<Item = String> + Send + 'static {
        // No line is appended, and so none is told, while the lock is held: none is missed, and none comes twice.
        let buffers = self.lock();
        let buffer = buffers.get(&key);
        let tail = buffer.map_or_else(Vec::new, |buffer| wanted.of(&buffer.lines));
        let news = buffer.is_none_or(|buffer| !buffer.ended).then(|| self.news.subscribe());
        drop(buffers);
        let timestamps = wanted.timestamps;
        let coming = unfold((news, key), move |(news, key)| async move {
            let mut news = news?;
            loop {
                match news.recv().await {
                    Ok((of, line)) if of == key => return Some((line?.shown(timestamps), (Some(news), key))),
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        });
        iter(tail).chain(coming)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Buffer>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A process of the container starts: what was written until now is of the one before.
    pub(super) fn begin(&self, key: &Key) {
        let mut buffers = self.lock();
        let buffer = buffers.entry(key.clone()).or_default();
        buffer.starts += 1;
        buffer.ended = false;
        buffer.before = std::mem::take(&mut buffer.lines);
        buffer.bytes = buffer.before.iter().map(|line| line.text.len() + 1).sum();
    }

    /// The process has ended, and all that it wrote is here.
    pub(super) fn end(&self, key: &Key) {
        if let Some(buffer) = self.lock().get_mut(key) {
            buffer.ended = true;
            self.spread(key.clone(), None);
        }
    }

    fn append(&self, key: &Key, text: String) {
        let mut buffers = self.lock();
        let buffer = buffers.entry(key.clone()).or_default();
        let line = Line {
            at: Timestamp::now(),
            text,
        };
        buffer.bytes += line.text.len() + 1;
        buffer.lines.push_back(line.clone());
        while buffer.bytes > KEPT {
            let oldest = buffer.before.pop_front().or_else(|| buffer.lines.pop_front());
            let Some(oldest) = oldest else { break };
            buffer.bytes -= oldest.text.len() + 1;
        }
        self.spread(key.clone(), Some(line));
    }

    fn spread(&self, key: Key, line: Option<Line>) {
        // Nobody follows: nobody to tell.
        drop(self.news.send((key, line)));
    }

    pub(super) fn forget(&self, namespace: &str, pod: &str) {
        let mut buffers = self.lock();
        let gone: Vec<_> = buffers
            .keys()
            .filter(|(of, name, _)| (&**of, &**name) == (namespace, pod))
            .cloned()
            .collect();
        for key in gone {
            buffers.remove(&key);
            self.spread(key, None);
        }
    }

    /// Copies a stream into a container's log until it ends.
    pub(super) fn collect(&self, key: Key, stream: impl AsyncRead + Unpin + Send + 'static) -> JoinHandle<()> {
        let logs = self.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stream).split(b'\n');
            while let Ok(Some(line)) = lines.next_segment().await {
                logs.append(&key, String::from_utf8_lossy(&line).into_owned());
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(container: &str) -> Key {
        ("n".to_owned(), "p".to_owned(), container.to_owned())
    }

    fn wanted(parameters: &[(&str, &str)]) -> Wanted {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Wanted::read(&parameters.iter().map(owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_newest_lines_are_kept_and_a_gone_pod_is_forgotten() {
        let logs = Logs::default();
        for number in 0..100 {
            logs.append(&key("c"), format!("{number}{}", "x".repeat(1023)));
        }
        let text = logs.read("n", "p", "c").unwrap();
        assert!(text.len() <= KEPT && text.ends_with("x\n") && text.contains("99x") && !text.contains("10x"));
        logs.forget("n", "p");
        assert_eq!(logs.read("n", "p", "c"), None);
    }

    #[test]
    fn what_the_process_before_wrote_is_told_when_it_is_asked_for() {
        let logs = Logs::default();
        let previous = wanted(&[("previous", "true")]);
        assert_eq!(logs.tell(&key("c"), &wanted(&[])).as_deref(), Some(""));
        for line in ["one", "two", "three"] {
            logs.begin(&key("c"));
            assert_eq!(logs.tell(&key("c"), &previous).is_some(), line != "one");
            logs.append(&key("c"), format!("{line} a"));
            logs.append(&key("c"), format!("{line} b"));
        }
        assert_eq!(logs.tell(&key("c"), &previous).unwrap(), "two a\ntwo b\n");
        assert_eq!(logs.tell(&key("c"), &wanted(&[])).unwrap(), "three a\nthree b\n");
        let last = wanted(&[("tailLines", "1"), ("limitBytes", "5")]);
        assert_eq!(logs.tell(&key("c"), &last).unwrap(), "three");
        let told = logs.tell(&key("c"), &wanted(&[("timestamps", "true"), ("sinceSeconds", "60")]));
        let (time, rest) = told.as_ref().unwrap().split_once(' ').unwrap();
        assert!(time.parse::<Timestamp>().is_ok() && time.len() == 30, "{time}");
        assert!(rest.starts_with("three a\n"), "{rest}");
        let later = (Timestamp::now() + SignedDuration::from_secs(60)).to_string();
        assert_eq!(logs.tell(&key("c"), &wanted(&[("sinceTime", &later)])).unwrap(), "");
    }

    #[tokio::test]
    async fn whoever_follows_gets_each_line_once_to_the_end() {
        let logs = Logs::default();
        logs.begin(&key("c"));
        for line in ["one", "two", "three"] {
            logs.append(&key("c"), line.to_owned());
        }
        let followed = logs.follow(key("c"), &wanted(&[("tailLines", "2")]));
        logs.append(&key("other"), "not this".to_owned());
        logs.append(&key("c"), "four".to_owned());
        logs.end(&key("c"));
        assert_eq!(followed.collect::<Vec<_>>().await, ["two", "three", "four"]);
        let ended = logs.follow(key("c"), &wanted(&[("tailLines", "1")]));
        assert_eq!(ended.collect::<Vec<_>>().await, ["four"], "it has ended already");
    }
}
