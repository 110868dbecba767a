//! Ceilings on what one target may make of us; what they cut is counted.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Check, HealthDocument, HealthLimits};

/// Series of one target that are not checks: the exporter's own and the rest of the document, with room to grow.
/// [`HealthLimits::series`] less this is what checks may become.
pub const RESERVED_SERIES: usize = 100;

/// Cuts what would be too many series, and says how many checks and values went. Statuses and durations come first, for
/// all checks; values get what is left.
pub(super) fn cut(checks: &mut Vec<Check>, limits: &HealthLimits) -> usize {
    let mut left = limits.series.saturating_sub(RESERVED_SERIES);
    let before = checks.len();
    checks.retain(|check| {
        let series = usize::from(check.status.is_some()) + usize::from(check.duration_seconds.is_some());
        let fits = series <= left;
        left -= if fits { series } else { 0 };
        fits
    });
    let mut cut = before - checks.len();
    for check in checks {
        let kept = check.values.len().min(left);
        cut += check.values.len() - kept;
        left -= kept;
        check.values.truncate(kept);
    }
    cut
}

/// The check names seen over the life of a connection: a server that invents a new name at each poll would otherwise
/// fill Prometheus, 64 series at a time.
#[derive(Debug, Clone, Default)]
pub struct KnownChecks(HashSet<Arc<str>>);

impl KnownChecks {
    /// Cuts the checks whose names are new beyond [`HealthLimits::check_names`], and counts them in the document.
    pub fn admit(&mut self, document: &mut HealthDocument, limits: &HealthLimits) {
        let before = document.checks.len();
        document.checks.retain(|check| {
            self.0.contains(&check.name)
                || (self.0.len() < limits.check_names && self.0.insert(Arc::clone(&check.name)))
        });
        let cut = before - document.checks.len();
        document.cut_count = document.cut_count.saturating_add(u32::try_from(cut).unwrap_or(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Dialect, Status};
    use super::*;

    fn check(name: &str, values: usize) -> Check {
        let values = (0..values).map(|index| (Arc::from(format!("v{index}")), 1.0)).collect();
        Check { name: name.into(), status: Some(Status::Healthy), duration_seconds: Some(0.1), values, message: None }
    }

    #[test]
    fn statuses_come_before_values() {
        let limits = HealthLimits { series: RESERVED_SERIES + 7, ..HealthLimits::default() };
        let mut checks = vec![check("a", 2), check("b", 3), check("c", 0)];
        // Six for the statuses and durations, one value: of five values four are cut.
        assert_eq!(cut(&mut checks, &limits), 4);
        assert_eq!(checks.iter().map(|check| check.values.len()).collect::<Vec<_>>(), [1, 0, 0]);
        let mut checks = vec![check("a", 0), check("b", 0), check("c", 0), check("d", 0)];
        assert_eq!((cut(&mut checks, &limits), checks.len()), (1, 3));
        let mut checks = vec![check("a", 1)];
        assert_eq!((cut(&mut checks, &HealthLimits { series: 0, ..limits }), checks.len()), (1, 0));
    }

    #[test]
    fn a_connection_knows_so_many_names() {
        let limits = HealthLimits { check_names: 3, ..HealthLimits::default() };
        let mut known = KnownChecks::default();
        let mut admit = |names: &[&str]| {
            let checks = names.iter().map(|name| check(name, 0)).collect();
            let mut document = HealthDocument { checks, dialect: Dialect::Guide, ..HealthDocument::protocol() };
            known.admit(&mut document, &limits);
            let names: Vec<_> = document.checks.iter().map(|check| check.name.to_string()).collect();
            (names.join(" "), document.cut_count)
        };
        assert_eq!(admit(&["a", "b"]), ("a b".into(), 0));
        assert_eq!(admit(&["c", "d", "a"]), ("c a".into(), 1));
        assert_eq!(admit(&["e", "f", "b"]), ("b".into(), 2));
    }
}
