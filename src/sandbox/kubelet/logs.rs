//! What containers wrote, the last of it, for whoever asks.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{
    Stream, StreamExt,
    stream::{iter, unfold},
};
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
    /// Each line as it comes; none when its container is forgotten.
    news: broadcast::Sender<(Key, Option<String>)>,
}

/// Namespace, pod and container.
pub(super) type Key = (String, String, String);

#[derive(Debug, Default)]
struct Buffer {
    lines: VecDeque<String>,
    bytes: usize,
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
    /// What the container wrote, or `None` for one that is not there or has not written anything.
    pub fn read(&self, namespace: &str, pod: &str, container: &str) -> Option<String> {
        let lines = self.tail(&(namespace.to_owned(), pod.to_owned(), container.to_owned()), None)?;
        Some(lines.iter().flat_map(|line| [line, "\n"]).collect())
    }

    /// The last lines of a container, all that are kept where no number is given.
    pub(super) fn tail(&self, key: &Key, lines: Option<usize>) -> Option<Vec<String>> {
        let buffers = self.lock();
        let kept = &buffers.get(key)?.lines;
        let skipped = lines.map_or(0, |lines| kept.len().saturating_sub(lines));
        Some(kept.iter().skip(skipped).cloned().collect())
    }

    /// The last lines, then each that comes, until the container's pod is gone.
    pub(super) fn follow(&self, key: Key, lines: Option<usize>) -> impl Stream<Item = String> + Send + 'static {
        // No line is appended, and so none is told, while the lock is held: none is missed, and none comes twice.
        let buffers = self.lock();
        let kept = buffers.get(&key).map(|buffer| &buffer.lines);
        let skipped = lines.map_or(0, |lines| kept.map_or(0, VecDeque::len).saturating_sub(lines));
        let tail: Vec<_> = kept.into_iter().flatten().skip(skipped).cloned().collect();
        let news = self.news.subscribe();
        drop(buffers);
        let coming = unfold((news, key), |(mut news, key)| async move {
            loop {
                match news.recv().await {
                    Ok((of, line)) if of == key => return line.map(|line| (line, (news, key))),
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

    pub(super) fn append(&self, key: &Key, line: String) {
        let mut buffers = self.lock();
        let buffer = buffers.entry(key.clone()).or_default();
        buffer.bytes += line.len() + 1;
        buffer.lines.push_back(line.clone());
        while buffer.bytes > KEPT {
            let Some(oldest) = buffer.lines.pop_front() else { break };
            buffer.bytes -= oldest.len() + 1;
        }
        self.tell(key.clone(), Some(line));
    }

    fn tell(&self, key: Key, line: Option<String>) {
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
            self.tell(key, None);
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

    #[test]
    fn the_newest_lines_are_kept_and_a_gone_pod_is_forgotten() {
        let logs = Logs::default();
        let key = ("n".to_owned(), "p".to_owned(), "c".to_owned());
        for number in 0..100 {
            logs.append(&key, format!("{number}{}", "x".repeat(1023)));
        }
        let text = logs.read("n", "p", "c").unwrap();
        assert!(text.len() <= KEPT && text.ends_with("x\n") && text.contains("99x") && !text.contains("10x"));
        logs.forget("n", "p");
        assert_eq!(logs.read("n", "p", "c"), None);
    }

    #[tokio::test]
    async fn whoever_follows_gets_each_line_once_to_the_end() {
        let logs = Logs::default();
        let key = |container: &str| ("n".to_owned(), "p".to_owned(), container.to_owned());
        for line in ["one", "two", "three"] {
            logs.append(&key("c"), line.to_owned());
        }
        let followed = logs.follow(key("c"), Some(2));
        logs.append(&key("other"), "not this".to_owned());
        logs.append(&key("c"), "four".to_owned());
        logs.forget("n", "p");
        assert_eq!(followed.collect::<Vec<_>>().await, ["two", "three", "four"]);
    }
}
