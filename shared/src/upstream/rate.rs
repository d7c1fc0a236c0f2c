//! How often an upstream may be called: the generic cell rate algorithm, which keeps one number.
//!
//! The number is the *theoretical arrival time*: when the next call would come if all came evenly. A call is admitted if
//! it is no earlier than that time less what the burst allows, and moves it on by one interval.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::duration;
use crate::time::Timestamp;

const MICROS: u64 = 1_000;
/// The longest span that a rate may be of.
const PER_MAX: Duration = Duration::from_hours(24);
/// The most calls in that span, and at once.
const COUNT_MAX: u32 = 1_000_000;

/// So many calls in a span of time, and so many of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    per: Duration,
    burst: u32,
}

/// A text that is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no rate: write 10/s, 500/m, 10000/h or 3/10s, at most 1000000 in at most a day")]
pub struct NotARate(String);

impl FromStr for Rate {
    type Err = NotARate;

    fn from_str(text: &str) -> Result<Self, NotARate> {
        let refuse = || NotARate(text.chars().take(64).collect());
        let (count, per) = text.split_once('/').ok_or_else(refuse)?;
        let count: u32 = count.trim().parse().map_err(|_| refuse())?;
        let per = per.trim();
        let per = if per.starts_with(|c: char| c.is_ascii_digit()) { per.to_owned() } else { format!("1{per}") };
        let per = duration::parse(&per).map_err(|_| refuse())?;
        let is_good = (1..=COUNT_MAX).contains(&count) && !per.is_zero() && per <= PER_MAX;
        if !is_good {
            return Err(refuse());
        }
        // Unless told otherwise as many at once as may come in a second.
        let in_a_second = f64::from(count) / per.as_secs_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is clamped to what fits")]
        let burst = in_a_second.clamp(1.0, f64::from(COUNT_MAX)) as u32;
        Ok(Self { count, per, burst })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = duration::show(self.per);
        let per = per.strip_prefix('1').filter(|unit| unit.chars().all(char::is_alphabetic)).unwrap_or(&per);
        write!(f, "{}/{per}", self.count)
    }
}

impl Rate {
    /// The same with so many calls at once: at least one.
    #[must_use]
    pub fn with_burst(self, burst: u32) -> Self {
        Self { burst: burst.clamp(1, COUNT_MAX), ..self }
    }

    /// A part of it, in percent from 1 to 100: as many calls less in a time, and at once.
    #[must_use]
    pub fn part(self, percent: u8) -> Self {
        let percent = u32::from(percent.clamp(1, 100));
        Self { per: self.per * 100 / percent, burst: (self.burst * percent / 100).max(1), ..self }
    }

    /// Calls at once.
    pub const fn burst(&self) -> u32 {
        self.burst
    }

    /// The time from one call to the next if they come evenly.
    pub fn interval(&self) -> Duration {
        Duration::from_micros(self.interval_micros())
    }

    /// The same in microseconds, rounded up: rather too few calls than too many.
    pub fn interval_micros(&self) -> u64 {
        let per = u64::try_from(self.per.as_micros()).expect("a day in microseconds fits");
        per.div_ceil(u64::from(self.count))
    }
}

/// Whether a call may be made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may, and counts.
    Admitted,
    /// It may after this time, if no other call comes first. It does not count.
    After(Duration),
}

/// Decides about one call; `arrival` is what was kept after the call before, in microseconds since 1970. Gives what is to
/// be kept now.
pub fn admit(arrival: Option<i64>, now: Timestamp, rate: &Rate) -> (Admission, i64) {
    let (interval, burst) = (micros(rate.interval_micros()), i64::from(rate.burst));
    let at = now.as_millis().saturating_mul(micros(MICROS));
    // A clock that was set back, or a rate that was changed, must not shut anybody out.
    let arrival = arrival.unwrap_or(at).clamp(at, at.saturating_add(interval.saturating_mul(burst)));
    let wait = arrival - at - interval * (burst - 1);
    if wait > 0 {
        let millis = wait.unsigned_abs().div_ceil(MICROS);
        return (Admission::After(Duration::from_millis(millis)), arrival);
    }
    (Admission::Admitted, arrival + interval)
}

fn micros(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    #[test]
    fn a_rate_is_read_and_shown_as_people_write_it() {
        for text in ["10/s", "500/m", "10000/h", "3/10s", "1/d", "5/250ms"] {
            assert_eq!(rate(text).to_string(), text);
        }
        assert_eq!(rate(" 60 / 1m ").to_string(), "60/m");
        let bursts = ["500/m", "100/s", "1/h", "1000000/1ms"].map(|text| rate(text).burst());
        assert_eq!(bursts, [8, 100, 1, 1_000_000]);
        assert_eq!(rate("500/m").with_burst(0).burst(), 1);
        for bad in ["", "10", "0/s", "-1/s", "10/x", "10/0s", "1/25h", "1000001/s", "1/s/s"] {
            let told = bad.parse::<Rate>().unwrap_err().to_string();
            assert!(told.contains("500/m"), "{told}");
        }
    }

    #[test]
    fn a_burst_goes_at_once_and_then_one_an_interval() {
        let rate = rate("10/s").with_burst(3);
        let mut kept = None;
        let mut ask = |millis: i64| {
            let (answer, next) = admit(kept, Timestamp::from_millis(1_000_000 + millis), &rate);
            kept = Some(next);
            answer
        };
        let after = |millis| Admission::After(Duration::from_millis(millis));
        assert_eq!(
            [ask(0), ask(0), ask(0), ask(0)],
            [Admission::Admitted, Admission::Admitted, Admission::Admitted, after(100)]
        );
        assert_eq!([ask(60), ask(100), ask(100)], [after(40), Admission::Admitted, after(100)]);
        assert_eq!(
            [ask(10_000), ask(10_000), ask(10_000), ask(10_000)][3],
            after(100),
            "what was not used is not saved up"
        );
    }

    #[test]
    fn a_clock_that_was_set_back_shuts_nobody_out_for_long() {
        let rate = rate("1/s");
        let (_, kept) = admit(None, Timestamp::from_millis(9_000_000), &rate);
        let (answer, _) = admit(Some(kept), Timestamp::from_millis(1_000), &rate);
        assert_eq!(answer, Admission::After(Duration::from_secs(1)));
    }

    proptest! {
        /// In any span of time no more calls are admitted than the burst and what the rate gives for the span; and who
        /// comes back when it was told, with nobody in between, is admitted.
        #[test]
        fn no_span_has_more_calls_than_the_rate_allows(
            count in 1..200_u32,
            per in 1..5_000_u64,
            burst in 1..20_u32,
            steps in prop::collection::vec(0..300_i64, 1..200),
        ) {
            let rate = Rate { count, per: Duration::from_millis(per), burst };
            let (mut now, mut kept, mut admitted) = (1_000_000, None, Vec::new());
            for step in steps {
                now += step;
                let (answer, next) = admit(kept, Timestamp::from_millis(now), &rate);
                kept = Some(next);
                match answer {
                    Admission::Admitted => admitted.push(now),
                    Admission::After(wait) => {
                        let then = Timestamp::from_millis(now).after(wait);
                        prop_assert_eq!(admit(kept, then, &rate).0, Admission::Admitted);
                    }
                }
            }
            let interval = i64::try_from(rate.interval_micros()).unwrap();
            for (first, from) in admitted.iter().enumerate() {
                for (last, to) in admitted.iter().enumerate().skip(first) {
                    let allowed = i64::from(burst) + (to - from) * 1_000 / interval;
                    prop_assert!(i64::try_from(last - first).unwrap() < allowed.max(1));
                }
            }
        }
    }
}
