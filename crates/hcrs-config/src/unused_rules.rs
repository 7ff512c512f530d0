//! Rules that have no effect, because another one is missing or does not allow them.

use hcrs_server::Rules;

/// A rule that has an effect only beside another.
struct Dependent {
    key: &'static str,
    is_set: fn(&Rules) -> bool,
    needs: &'static str,
    has_it: fn(&Rules) -> bool,
}

const DEPENDENT: [Dependent; 3] = [
    Dependent {
        key: "rate_burst",
        is_set: |rules| rules.rate_burst.is_some(),
        needs: "rate",
        has_it: |rules| rules.rate.is_some(),
    },
    Dependent {
        key: "rate_by",
        is_set: |rules| rules.rate_by.is_some(),
        needs: "rate",
        has_it: |rules| rules.rate.is_some(),
    },
    Dependent {
        key: "auth_realm",
        is_set: |rules| rules.auth_realm.is_some(),
        needs: "auth",
        has_it: |rules| rules.auth.is_some(),
    },
];

/// A rule without effect: its key, and the reason.
pub(crate) type Unused = (&'static str, String);

/// Returns the rules of all requests that have no effect, on no route either.
pub(crate) fn of_all(all: &Rules, routes: &[&Rules]) -> Vec<Unused> {
    let has = |has_it: fn(&Rules) -> bool| has_it(all) || routes.iter().any(|own| has_it(own));
    let unused = DEPENDENT.iter().filter(|rule| (rule.is_set)(all) && !has(rule.has_it));
    unused.map(missing).collect()
}

/// Returns the rules of a route that have no effect beside those of all requests.
pub(crate) fn of_route(own: &Rules, all: &Rules) -> Vec<Unused> {
    let unused =
        DEPENDENT.iter().filter(|rule| (rule.is_set)(own) && !(rule.has_it)(own) && !(rule.has_it)(all));
    // A burst and a rate of one table are checked where they are read.
    let burst = match (own.rate, own.rate_burst) {
        (Some(rate), None) => all.rate_burst.map(|burst| (rate, burst)),
        (None, Some(burst)) => all.rate.map(|rate| (rate, burst)),
        _ => None,
    };
    let refused = burst.and_then(|(rate, burst)| rate.with_burst(burst).err());
    let refused = refused.map(|error| ("rate_burst", error.to_string()));
    unused.map(missing).chain(refused).collect()
}

fn missing(rule: &Dependent) -> Unused {
    (rule.key, format!("there is no {}", rule.needs))
}
