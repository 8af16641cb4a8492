//! A run's time on a line, for a page: where a moment lies between its first and its last one.
//!
//! A run that stood still overnight would squeeze everything that it did into a few dots, so a pause takes at most a
//! share of the line, however long it lasted.

use jiff::Timestamp;

/// The share of the line that all pauses together may take.
const PAUSES: f64 = 0.2;

/// Moments on a line from 0 to 100.
pub(super) struct Timeline {
    /// Milliseconds and where they lie, both ascending.
    knots: Vec<(i64, f64)>,
    start: i64,
}

impl Timeline {
    /// From one moment to another. Pauses are spans in which nothing was done, in order and apart.
    pub(super) fn new(from: Timestamp, to: Timestamp, pauses: &[(Timestamp, Timestamp)]) -> Self {
        let (from, to) = (from.as_millisecond(), to.as_millisecond().max(from.as_millisecond()));
        let pauses: Vec<(i64, i64)> = pauses
            .iter()
            .map(|(a, b)| (a.as_millisecond().clamp(from, to), b.as_millisecond().clamp(from, to)))
            .filter(|(a, b)| a < b)
            .collect();
        let paused: f64 = pauses.iter().map(|(a, b)| ms(b - a)).sum();
        let active = (ms(to - from) - paused).max(0.0);
        // Where pauses would take more than their share, each is drawn shorter by the same factor.
        let shrink = match paused {
            paused if paused > 0.0 && active > 0.0 => (active * PAUSES / (1.0 - PAUSES) / paused).min(1.0),
            _ => 1.0,
        };
        let length = active + paused * shrink;
        let mut knots = vec![(from, 0.0)];
        let mut at = 0.0;
        let mut last = from;
        for (a, b) in pauses {
            at += ms(a - last);
            knots.push((a, at));
            at += ms(b - a) * shrink;
            knots.push((b, at));
            last = b;
        }
        knots.push((to, at + ms(to - last)));
        for knot in &mut knots {
            knot.1 = if length > 0.0 { knot.1 / length * 100.0 } else { 0.0 };
        }
        Self { knots, start: from }
    }

    /// Where a moment lies. Moments outside lie at the ends.
    pub(super) fn at(&self, moment: Timestamp) -> f64 {
        let moment = moment.as_millisecond();
        for pair in self.knots.windows(2) {
            let ((a, x), (b, y)) = (pair[0], pair[1]);
            if moment <= b {
                let share = if b > a { ms(moment.max(a) - a) / ms(b - a) } else { 0.0 };
                return x + (y - x) * share;
            }
        }
        100.0
    }

    /// Milliseconds since the beginning at a place on the line.
    pub(super) fn elapsed_at(&self, place: f64) -> u64 {
        for pair in self.knots.windows(2) {
            let ((a, x), (b, y)) = (pair[0], pair[1]);
            if place <= y && y > x {
                #[expect(clippy::cast_possible_truncation, reason = "a share of a span that was an i64")]
                let within = (ms(b - a) * (place - x) / (y - x)).round() as i64;
                return u64::try_from(a - self.start + within).unwrap_or(0);
            }
        }
        let last = self.knots.last().map_or(self.start, |knot| knot.0);
        u64::try_from(last - self.start).unwrap_or(0)
    }
}

#[expect(clippy::cast_precision_loss, reason = "for drawing; no run lasts 2^52 ms")]
fn ms(span: i64) -> f64 {
    span as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moment(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    #[test]
    fn without_pauses_time_is_even() {
        let line = Timeline::new(moment(1_000), moment(2_000), &[]);
        assert_eq!(
            [900, 1_000, 1_250, 2_000, 3_000].map(|ms| line.at(moment(ms))),
            [0.0, 0.0, 25.0, 100.0, 100.0]
        );
        assert_eq!([0.0, 50.0, 100.0].map(|place| line.elapsed_at(place)), [0, 500, 1_000]);
    }

    #[test]
    fn a_night_between_takes_a_fifth() {
        let night = 8 * 3_600_000;
        let line = Timeline::new(
            moment(0),
            moment(night + 8_000),
            &[(moment(4_000), moment(night + 4_000))],
        );
        assert_eq!([4_000, night + 4_000].map(|ms| line.at(moment(ms))), [40.0, 60.0]);
        assert_eq!(line.elapsed_at(20.0), 2_000);
        assert_eq!(line.elapsed_at(80.0), u64::try_from(night + 6_000).unwrap());
    }

    #[test]
    fn a_run_of_no_length_lies_at_the_beginning() {
        let line = Timeline::new(moment(5), moment(5), &[]);
        assert_eq!((line.at(moment(5)), line.elapsed_at(100.0)), (0.0, 0));
    }

    proptest! {
        #[test]
        fn later_is_never_further_left(spans in prop::collection::vec(1i64..100_000, 2..12), asked in prop::collection::vec(0i64..1_000_000, 2..20)) {
            let mut edges = vec![0];
            for span in spans { edges.push(edges[edges.len() - 1] + span); }
            let pauses: Vec<_> = edges.chunks_exact(2).skip(1).map(|pair| (moment(pair[0]), moment(pair[1]))).collect();
            let line = Timeline::new(moment(0), moment(edges[edges.len() - 1]), &pauses);
            let mut asked = asked;
            asked.sort_unstable();
            let places: Vec<f64> = asked.into_iter().map(|ms| line.at(moment(ms))).collect();
            prop_assert!(places.windows(2).all(|pair| pair[0] <= pair[1] + 1e-9));
            prop_assert!(places.iter().all(|place| (0.0..=100.0001).contains(place)));
        }
    }
}
