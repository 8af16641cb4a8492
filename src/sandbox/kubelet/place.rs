//! Where commands can be run: the containers that run now, each with its environment.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::logs::Key;

/// A running container, as a command in it finds it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub variables: BTreeMap<String, String>,
    /// Where its process runs; that of this process if there is none.
    pub directory: Option<PathBuf>,
    ended: watch::Receiver<()>,
}

impl Place {
    /// Resolves when the container has ended, and with it everything that runs in it.
    pub async fn ended(&mut self) {
        while self.ended.changed().await.is_ok() {}
    }
}

/// The places of one kubelet. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<Mutex<HashMap<Key, Place>>>);

/// A container that runs until this is dropped.
#[derive(Debug)]
pub(super) struct Standing {
    key: Key,
    places: Places,
    /// Dropped last: whoever runs in the container then hears that it has ended.
    _ended: watch::Sender<()>,
}

impl Places {
    pub fn open(&self, key: Key, variables: BTreeMap<String, String>, directory: Option<PathBuf>) -> Standing {
        let (sender, ended) = watch::channel(());
        let place = Place {
            variables,
            directory,
            ended,
        };
        self.lock().insert(key.clone(), place);
        Standing {
            key,
            places: self.clone(),
            _ended: sender,
        }
    }

    /// The running container of this name.
    pub fn find(&self, key: &Key) -> Option<Place> {
        self.lock().get(key).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.places.lock().remove(&self.key);
    }
}
