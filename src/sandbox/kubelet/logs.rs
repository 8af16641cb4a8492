//! What containers wrote, the last of it, for whoever asks.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// How many bytes of each container are kept; the oldest lines go first.
const KEPT: usize = 64 * 1024;

/// The logs of one kubelet's containers, restarts included, until their pod is gone. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Logs(Arc<Mutex<HashMap<Key, Buffer>>>);

/// Namespace, pod and container.
type Key = (String, String, String);

#[derive(Debug, Default)]
struct Buffer {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Logs {
    /// What the container wrote, or `None` for one that is not there or has not been started.
    pub fn read(&self, namespace: &str, pod: &str, container: &str) -> Option<String> {
        let logs = self.lock();
        let buffer = logs.get(&(namespace.to_owned(), pod.to_owned(), container.to_owned()))?;
        Some(buffer.lines.iter().flat_map(|line| [line, "\n"]).collect())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Buffer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn append(&self, key: &Key, line: String) {
        let mut logs = self.lock();
        let buffer = logs.entry(key.clone()).or_default();
        buffer.bytes += line.len() + 1;
        buffer.lines.push_back(line);
        while buffer.bytes > KEPT {
            let Some(oldest) = buffer.lines.pop_front() else { break };
            buffer.bytes -= oldest.len() + 1;
        }
    }

    pub(super) fn forget(&self, namespace: &str, pod: &str) {
        self.lock()
            .retain(|(of, name, _), _| (of.as_str(), name.as_str()) != (namespace, pod));
    }

    /// Copies a stream into a container's log until it ends.
    pub(super) fn follow(&self, key: Key, stream: impl AsyncRead + Unpin + Send + 'static) {
        let logs = self.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stream).split(b'\n');
            while let Ok(Some(line)) = lines.next_segment().await {
                logs.append(&key, String::from_utf8_lossy(&line).into_owned());
            }
        });
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
}
