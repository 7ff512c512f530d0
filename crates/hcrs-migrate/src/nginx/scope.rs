//! Inheritance: what the directives of a block and of those around it mean for a location.

use super::syntax::Directive;

/// The blocks around a place, from the outermost to the innermost.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope<'a> {
    levels: Vec<&'a [Directive]>,
}

impl<'a> Scope<'a> {
    pub(crate) fn new(directives: &'a [Directive]) -> Self {
        Self { levels: vec![directives] }
    }

    /// Returns the scope of a block within.
    pub(crate) fn within(&self, block: &'a Directive) -> Self {
        let mut levels = self.levels.clone();
        levels.push(block.children());
        Self { levels }
    }

    /// Returns the directives of the innermost block.
    pub(crate) fn own(&self) -> &'a [Directive] {
        self.levels.last().copied().unwrap_or_default()
    }

    /// Returns a directive that a deeper block replaces: the last of the innermost block that has one.
    pub(crate) fn last(&self, name: &str) -> Option<&'a Directive> {
        self.all(&[name]).pop()
    }

    /// Returns the directives of a list: blocks inherit all of them, unless they have one themselves.
    pub(crate) fn all(&self, names: &[&str]) -> Vec<&'a Directive> {
        let of_level = |level: &&'a [Directive]| -> Vec<&'a Directive> {
            level.iter().filter(|directive| names.contains(&directive.name.as_str())).collect()
        };
        self.levels.iter().rev().map(of_level).find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// Returns whether a switch is on.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.last(name).is_some_and(|directive| directive.arg(0) == "on")
    }

    /// Returns the directive in the innermost block itself.
    pub(crate) fn here(&self, name: &str) -> Option<&'a Directive> {
        self.own().iter().rev().find(|directive| directive.name == name)
    }

    /// Returns the location of a path, of the innermost block that has it.
    pub(crate) fn location(&self, path: &str) -> Option<&'a Directive> {
        let is_it = |directive: &&'a Directive| {
            directive.name == "location" && directive.args.last().is_some_and(|arg| arg == path)
        };
        self.levels.iter().rev().find_map(|level| level.iter().find(is_it))
    }

    /// Replaces variables that `set` gives a fixed value.
    pub(crate) fn resolved(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for level in self.levels.iter().rev() {
            for directive in
                level.iter().filter(|directive| directive.name == "set" && directive.args.len() == 2)
            {
                let (name, value) = (directive.arg(0), directive.arg(1));
                if name.len() > 1 && !value.contains('$') && text.contains(name) {
                    directive.see();
                    text = text.replace(name, value);
                    text = text.replace(&format!("${{{}}}", &name[1..]), value);
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::super::syntax::parse;
    use super::*;

    #[test]
    fn lists_are_inherited_whole_or_not_at_all() {
        let text = "add_header A 1; add_header B 2; root /x; set $up http://h; server { add_header C 3; location / { proxy_pass $up/; } }";
        let directives = parse(&Rc::from("x"), text).unwrap();
        let outer = Scope::new(&directives);
        let server = outer.within(&directives[4]);
        let location = server.within(&directives[4].children()[1]);
        let headers = |scope: &Scope<'_>| {
            scope.all(&["add_header"]).iter().map(|it| it.arg(0).to_owned()).collect::<String>()
        };
        assert_eq!(
            (headers(&outer), headers(&server), headers(&location)),
            ("AB".into(), "C".into(), "C".into())
        );
        assert_eq!(location.last("root").map(|root| root.arg(0)), Some("/x"));
        assert!(location.here("root").is_none());
        assert_eq!(location.resolved("$up/"), "http://h/");
    }
}
