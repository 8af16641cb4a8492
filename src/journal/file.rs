//! The journal in a file of JSON lines: the plan first, then the entries.
//!
//! Responsible for: appends that are on disk when they are answered, and a file that one coordinator writes at a time.
//! Not for: what an entry means. One file holds one run; when it is over, the next one moves it aside.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use stepback_core::journal::{Entry, FORMAT, ReadBack, What, read_lines};
use stepback_core::model::{Digest, RunId, Token};
use stepback_core::plan::Plan;

use super::{Journal, JournalError, Stored, stored};

/// A journal in one file.
pub struct FileJournal {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    /// What this process knows of the file's end, so that an append need not read it all again.
    tail: Mutex<Option<Tail>>,
}

/// The file's first line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(rename = "v")]
    format: u32,
    run: RunId,
    plan: Plan,
}

#[derive(Clone)]
struct Tail {
    run: RunId,
    /// The file that it is the tail of, and its length.
    inode: u64,
    bytes: u64,
    last: Option<Entry>,
}

/// A file, read.
struct Contents {
    head: Head,
    entries: Vec<Entry>,
    torn: Option<String>,
    /// Bytes up to the end of the last whole line.
    intact: u64,
}

impl FileJournal {
    /// A journal in this file, which is made when the first run opens.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let shared = Shared {
            path: path.into(),
            tail: Mutex::new(None),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Does blocking work off the async threads. What was begun is finished even if the caller goes away.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || work(&shared)).await;
        done.unwrap_or_else(|error| Err(JournalError::Unknown(error.to_string())))
    }
}

#[async_trait]
impl Journal for FileJournal {
    async fn create(&self, run: &RunId, plan: &Plan, _token: Token) -> Result<(), JournalError> {
        let head = Head {
            format: FORMAT,
            run: run.clone(),
            plan: plan.clone(),
        };
        self.blocking(move |shared| shared.create(&head)).await
    }

    async fn append(&self, run: &RunId, entry: &Entry) -> Result<(), JournalError> {
        let (run, entry) = (run.clone(), entry.clone());
        self.blocking(move |shared| shared.append(&run, &entry)).await
    }

    async fn read(&self, run: &RunId) -> Result<Stored, JournalError> {
        let run = run.clone();
        self.blocking(move |shared| shared.read(&run)).await
    }

    async fn runs(&self) -> Result<Vec<RunId>, JournalError> {
        self.blocking(|shared| {
            let Some(mut file) = shared.open_to_read()? else {
                return Ok(vec![]);
            };
            let contents = shared.contents(&mut file)?;
            Ok(contents.into_iter().map(|contents| contents.head.run).collect())
        })
        .await
    }
}

impl Shared {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    /// What an error before anything was written means.
    fn untouched(&self, error: &io::Error) -> JournalError {
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                JournalError::Forbidden(format!("{}: {error}", self.place()))
            }
            _ => JournalError::Unreachable(format!("{}: {error}", self.place())),
        }
    }

    /// What an error after something may have been written means.
    fn unknown(&self, error: &io::Error) -> JournalError {
        JournalError::Unknown(format!("{}: {error}", self.place()))
    }

    fn open_to_read(&self) -> Result<Option<File>, JournalError> {
        match File::open(&self.path) {
            Ok(file) => {
                file.lock_shared().map_err(|error| self.untouched(&error))?;
                Ok(Some(file))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.untouched(&error)),
        }
    }

    /// Opens the file for us alone, until it is dropped. The lock belongs to a file, not to its name: one that was moved
    /// aside while we waited for it is let go, and the one that bears the name now is opened.
    fn open_to_write(&self, create: bool) -> io::Result<File> {
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(create)
                .truncate(false)
                .open(&self.path)?;
            file.lock()?;
            match std::fs::metadata(&self.path) {
                Ok(named) if named.ino() == file.metadata()?.ino() => return Ok(file),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Everything in the file; `None` where a run was never born: the file is empty, or its first line was torn.
    fn contents(&self, file: &mut File) -> Result<Option<Contents>, JournalError> {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).map_err(|error| self.untouched(&error))?;
        file.read_to_end(&mut bytes).map_err(|error| self.untouched(&error))?;
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            return Ok(None);
        };
        let unreadable = |message: String| JournalError::Damaged {
            run: RunId("unknown".to_owned()),
            message: format!("the first line of {}: {message}", self.place()),
        };
        let head = read_head(&bytes[..end]).map_err(unreadable)?;
        let damaged = |message: String| JournalError::Damaged {
            run: head.run.clone(),
            message,
        };
        let computed = head.plan.compute_id().map_err(|error| damaged(error.to_string()))?;
        if computed != head.plan.id {
            return Err(damaged(format!(
                "its plan was changed: it calls itself {}, but its contents are {computed}",
                head.plan.id
            )));
        }
        let rest = &bytes[end + 1..];

        let read: ReadBack = read_lines(rest).map_err(|error| damaged(error.to_string()))?;
        Ok(Some(Contents {
            intact: (end + 1 + read.intact_bytes) as u64,
            entries: read.entries,
            torn: read.torn,
            head,
        }))
    }

    fn create(&self, head: &Head) -> Result<(), JournalError> {
        loop {
            let mut file = self.open_to_write(true).map_err(|error| self.untouched(&error))?;
            let Some(found) = self.contents(&mut file)? else {
                return self.give_birth(&mut file, head);
            };
            if found.head.run == head.run {
                return if found.head.plan == head.plan {
                    Ok(())
                } else {
                    Err(JournalError::Damaged {
                        run: head.run.clone(),
                        message: format!("{} holds another plan", self.place()),
                    })
                };
            }
            let over = found
                .entries
                .last()
                .is_some_and(|entry| matches!(entry.what, What::RunClosed { .. } | What::RunHandedOver { .. }));
            if !over {
                return Err(JournalError::Occupied {
                    place: self.place(),
                    run: found.head.run,
                });
            }
            let mut aside = self.path.clone().into_os_string();
            aside.push(format!(".{}", found.head.run));
            std::fs::rename(&self.path, PathBuf::from(aside)).map_err(|error| self.untouched(&error))?;
        }
    }

    fn give_birth(&self, file: &mut File, head: &Head) -> Result<(), JournalError> {
        let json = serde_json::to_string(head).map_err(|error| JournalError::Damaged {
            run: head.run.clone(),
            message: format!("the plan cannot be written: {error}"),
        })?;
        let line = format!("{} {json}\n", hash_of(json.as_bytes()));
        let written = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(line.as_bytes()))
            .and_then(|()| file.sync_all())
            .and_then(|()| sync_directory(&self.path));
        written.map_err(|error| self.unknown(&error))
    }

    fn append(&self, run: &RunId, entry: &Entry) -> Result<(), JournalError> {
        let mut known = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.take();
        let mut file = match self.open_to_write(false) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(JournalError::NotFound(run.clone())),
            Err(error) => return Err(self.untouched(&error)),
        };
        let metadata = file.metadata().map_err(|error| self.untouched(&error))?;
        let tail = match before {
            Some(tail) if tail.run == *run && tail.inode == metadata.ino() && tail.bytes == metadata.len() => tail,
            _ => self.read_tail(run, &mut file, metadata.ino(), entry)?,
        };
        match &tail.last {
            Some(last) if last == entry => {
                // It was written by an append that could not say so, and perhaps not yet to the disk.
                file.sync_data().map_err(|error| self.unknown(&error))?;
                *known = Some(tail);
                return Ok(());
            }
            Some(last) if last.sequence + 1 != entry.sequence || last.hash() != entry.previous => {
                return Err(JournalError::Fenced(run.clone()));
            }
            None if entry.sequence != 1 => return Err(JournalError::Fenced(run.clone())),
            _ => {}
        }
        let line = entry.to_line() + "\n";
        // A torn line behind the last whole one goes away with this write.
        let written = file
            .set_len(tail.bytes)
            .and_then(|()| file.seek(SeekFrom::Start(tail.bytes)))
            .and_then(|_| file.write_all(line.as_bytes()))
            .and_then(|()| file.sync_data());
        written.map_err(|error| self.unknown(&error))?;
        *known = Some(Tail {
            bytes: tail.bytes + line.len() as u64,
            last: Some(entry.clone()),
            ..tail
        });
        Ok(())
    }

    fn read_tail(&self, run: &RunId, file: &mut File, inode: u64, appended: &Entry) -> Result<Tail, JournalError> {
        let contents = self.contents(file)?.filter(|contents| contents.head.run == *run);
        let Some(mut contents) = contents else {
            return Err(JournalError::NotFound(run.clone()));
        };
        if let Some(torn) = &contents.torn {
            tracing::warn!(
                "{}: a torn last line of {} bytes is cut off; it was never durable",
                self.place(),
                torn.len()
            );
        }
        if contents.entries.iter().any(|entry| entry.token > appended.token) {
            return Err(JournalError::Fenced(run.clone()));
        }
        Ok(Tail {
            run: run.clone(),
            inode,
            bytes: contents.intact,
            last: contents.entries.pop(),
        })
    }

    fn read(&self, run: &RunId) -> Result<Stored, JournalError> {
        let found = match self.open_to_read()? {
            Some(mut file) => self.contents(&mut file)?,
            None => None,
        };
        let Some(contents) = found.filter(|contents| contents.head.run == *run) else {
            return Err(JournalError::NotFound(run.clone()));
        };
        stored(run, contents.head.plan, contents.entries, contents.torn)
    }
}

fn read_head(line: &[u8]) -> Result<Head, String> {
    let wrong = || "its checksum does not match its content".to_owned();
    let (hash, json) = line.split_at_checked(16).ok_or_else(wrong)?;
    let json = json.strip_prefix(b" ").ok_or_else(wrong)?;
    if hash != hash_of(json).as_bytes() {
        return Err(wrong());
    }
    serde_json::from_slice(json).map_err(|error| error.to_string())
}

fn hash_of(json: &[u8]) -> String {
    let mut hex = Digest::of(json).to_string();
    hex.truncate(16);
    hex
}

/// Makes a new name durable.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}
