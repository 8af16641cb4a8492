//! Whether a pod that is waited for can be made at all (LAWS W13): a controller that is refused records it of its set at
//! once, and goes on trying for as long as one looks.

use std::time::Duration;

use stepback_core::model::{PodEvent, presentable};
use stepback_core::workload::FailedCreates;
use tokio::time::Instant;

use super::REASON;
use crate::cluster::ClusterError;

/// How long a pod is missed before anybody asks why. Events are asked for and not watched: the least Role may list them.
const MISSED: Duration = Duration::from_secs(3);

/// How often one asks.
const PACE: Duration = Duration::from_secs(1);

/// How many looks must each find new failures for a wait to be vain. One may be a webhook that is being restarted, or a
/// quota that is being freed; and several found at one look may all be from before, and recorded late.
const FAILURES: u32 = 2;

/// For how long one failure alone is waited out: a controller that has failed often before tries after minutes only.
const ALONE: Duration = Duration::from_secs(10);

/// What is known of a pod that is missed.
#[derive(Default)]
pub(super) struct Making {
    missed: Option<Missed>,
    /// The events must not be read.
    blind: bool,
}

struct Missed {
    /// When to ask next.
    due: Instant,
    /// What was recorded when it was last asked for; the first of it may be older than the step.
    now: Option<FailedCreates>,
    /// How many looks have found new ones.
    looks: u32,
    /// When the first was seen that is not older.
    failed: Option<Instant>,
}

impl Making {
    /// Takes in whether the pod is missed, and says the reason for waiting with what is known of it.
    pub fn reason(&mut self, is_missed: bool, why: String) -> String {
        if !is_missed {
            self.missed = None;
            return why;
        }
        let missed = self.missed.get_or_insert_with(|| Missed {
            due: Instant::now() + MISSED,
            now: None,
            looks: 0,
            failed: None,
        });
        let newest = missed.now.as_ref().and_then(FailedCreates::newest);
        match (newest, missed.failed) {
            (Some(newest), Some(_)) => format!("{why}: its controller is refused, and tries again: {newest}"),
            (Some(newest), None) => {
                format!(
                    "{why}; its controller was refused before, and may pause for minutes before it tries again: {newest}"
                )
            }
            (None, _) => why,
        }
    }

    /// Waits until it is time to ask, and asks. Says why the pod will not come, once that is known. Never returns while
    /// there is nothing to ask; whoever stops waiting for it loses nothing.
    pub async fn look(&mut self, events: impl AsyncFn() -> Asked, of: (&str, &str)) -> Option<String> {
        let Some(missed) = self.missed.as_mut().filter(|_| !self.blind) else {
            return std::future::pending().await;
        };
        tokio::time::sleep_until(missed.due).await;
        let read = events().await;
        missed.due = Instant::now() + PACE;
        let (set, pod) = of;
        match read {
            Ok(events) => missed.take(FailedCreates::of(&events, set, pod)),
            // Then it is waited for as long as there is time.
            Err(ClusterError::Forbidden(_)) => self.blind = true,
            Err(_) => {}
        }
        missed.verdict(pod)
    }
}

impl Missed {
    fn take(&mut self, now: FailedCreates) {
        let is_new = self.now.as_ref().is_some_and(|last| now.since(last) > 0);
        self.looks += u32::from(is_new);
        self.now = Some(now);
    }

    fn verdict(&mut self, pod: &str) -> Option<String> {
        if self.looks == 0 {
            return None;
        }
        let alone = self.failed.get_or_insert_with(Instant::now).elapsed();
        let why = self.now.as_ref()?.newest()?;
        (self.looks >= FAILURES || alone >= ALONE).then(|| {
            let why = format!("pod {pod} cannot be made, its controller is refused again and again: {why}");
            presentable(&why, REASON)
        })
    }
}

type Asked = Result<Vec<PodEvent>, ClusterError>;

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A controller that has failed so often at these seconds, each time with this message.
    type Failed = &'static [(u64, i32, &'static str)];

    /// After how many seconds a wait of five minutes ended, why, and what was said last.
    async fn wait(failed: Failed) -> (u64, Option<String>, String) {
        let begun = Instant::now();
        let asked = Mutex::new(0);
        let events = async || {
            *asked.lock().unwrap() += 1;
            let past = failed.iter().filter(|(at, ..)| *at <= begun.elapsed().as_secs());
            // An event each that is counted up, the one that happened last at the end.
            let mut events: Vec<PodEvent> = Vec::new();
            for (_, count, why) in past {
                let message = format!("create Pod web-0 in StatefulSet web failed error: {why}");
                events.retain(|event| event.message != message);
                events.push(PodEvent {
                    at: None,
                    warning: true,
                    reason: "FailedCreate".to_owned(),
                    message,
                    count: *count,
                });
            }
            Ok(events)
        };
        let mut making = Making::default();
        loop {
            let said = making.reason(true, "web-0 is missing".to_owned());
            let rest = Duration::from_secs(300).saturating_sub(begun.elapsed());
            match tokio::time::timeout(rest, making.look(events, ("web", "web-0"))).await {
                Ok(None) => {}
                Ok(Some(why)) => return (begun.elapsed().as_secs(), Some(why), said),
                Err(_) => return (begun.elapsed().as_secs(), None, said),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn w13_two_refusals_seen_end_the_wait_with_the_message() {
        let (after, why, said) = wait(&[(0, 9, "no quota"), (5, 10, "no quota"), (10, 11, "no quota")]).await;
        assert_eq!(after, 10);
        let why = why.unwrap();
        assert!(
            why.contains("pod web-0 cannot be made") && why.ends_with(": no quota"),
            "{why}"
        );
        assert_eq!(
            said,
            "web-0 is missing: its controller is refused, and tries again: no quota"
        );
        // Another reason each time is no less a refusal.
        let (after, why, _) = wait(&[(0, 9, "no quota"), (5, 1, "no webhook"), (10, 1, "no account")]).await;
        assert!(after == 10 && why.unwrap().ends_with(": no account"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_alone_is_given_time_to_pass() {
        let (after, why, _) = wait(&[(60, 1, "no quota")]).await;
        assert_eq!((after, why.is_some()), (70, true));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_recorded_before_ends_nothing() {
        let (after, why, said) = wait(&[(0, 40, "no quota")]).await;
        assert_eq!((after, why), (300, None));
        assert_eq!(
            said,
            "web-0 is missing; its controller was refused before, and may pause for minutes before it tries again: no quota"
        );
        assert_eq!(wait(&[]).await, (300, None, "web-0 is missing".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_comes_is_a_new_beginning() {
        let mut making = Making::default();
        let none = async || Ok(Vec::new());
        making.reason(true, String::new());
        assert_eq!(making.look(none, ("web", "web-0")).await, None);
        making.reason(false, String::new());
        let waits = tokio::time::timeout(Duration::from_secs(60), making.look(none, ("web", "web-0")));
        assert!(waits.await.is_err(), "nobody asks about a pod that is there");
        let begun = Instant::now();
        making.reason(true, String::new());
        assert_eq!(making.look(none, ("web", "web-0")).await, None);
        assert_eq!(begun.elapsed(), MISSED);
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_right_nobody_asks_twice() {
        let mut making = Making::default();
        let forbidden = async || Err(ClusterError::Forbidden("events".to_owned()));
        making.reason(true, String::new());
        assert_eq!(making.look(forbidden, ("web", "web-0")).await, None);
        let waits = tokio::time::timeout(Duration::from_secs(60), making.look(forbidden, ("web", "web-0")));
        assert!(waits.await.is_err());
    }
}
