//! A template over a row's columns: `{title} {body}`.
//!
//! `{name}` stands for a column's text, `{{` and `}}` for the braces themselves. A text without
//! any brace is the name of one column.

use mrl_memory::OutOfMemory;
use thiserror::Error;

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum TemplateError {
    #[error("template \"{0}\" has \"{{\" without \"}}\"")]
    NotClosed(String),
    #[error("template \"{0}\" has \"}}\" without \"{{\"")]
    NotOpened(String),
    #[error("template \"{0}\" has \"{{}}\" without a column name")]
    NoName(String),
    #[error("template \"{0}\" names no column")]
    NoColumns(String),
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Literal(String),
    /// An index into the columns.
    Column(usize),
}

/// A parsed template.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    pieces: Vec<Piece>,
    columns: Vec<String>,
}

impl Template {
    /// Parses a template, or the name of the one source column.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut template = Self { pieces: Vec::new(), columns: Vec::new() };
        if !text.contains(['{', '}']) {
            template.push_column(text, text)?;
            return Ok(template);
        }
        let mut literal = String::new();
        let mut rest = text;
        while let Some(brace) = rest.find(['{', '}']) {
            literal.push_str(&rest[..brace]);
            let from_brace = &rest[brace..];
            if from_brace.starts_with("{{") || from_brace.starts_with("}}") {
                literal.push_str(&from_brace[..1]);
                rest = &from_brace[2..];
                continue;
            }
            let name = from_brace
                .strip_prefix('{')
                .ok_or_else(|| TemplateError::NotOpened(text.into()))?
                .split_once('}')
                .ok_or_else(|| TemplateError::NotClosed(text.into()))?;
            template.push_literal(&mut literal);
            template.push_column(name.0, text)?;
            rest = name.1;
        }
        literal.push_str(rest);
        template.push_literal(&mut literal);
        if template.columns.is_empty() {
            return Err(TemplateError::NoColumns(text.into()));
        }
        Ok(template)
    }

    /// The columns named, each once, in the order of their first use.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The text for one row, given the columns' texts in the order of [`Template::columns`].
    ///
    /// A NULL among several columns adds nothing; where all are NULL the result is `None`.
    pub fn render<T: AsRef<str>>(
        &self,
        values: &[Option<T>],
    ) -> Result<Option<String>, OutOfMemory> {
        if values.iter().all(Option::is_none) {
            return Ok(None);
        }
        let mut rendered = String::new();
        for piece in &self.pieces {
            let text = match piece {
                Piece::Literal(text) => text,
                Piece::Column(index) => {
                    values.get(*index).and_then(Option::as_ref).map_or("", AsRef::as_ref)
                }
            };
            mrl_memory::append(&mut rendered, text)?;
        }
        Ok(Some(rendered))
    }

    fn push_literal(&mut self, literal: &mut String) {
        if !literal.is_empty() {
            self.pieces.push(Piece::Literal(std::mem::take(literal)));
        }
    }

    fn push_column(&mut self, name: &str, text: &str) -> Result<(), TemplateError> {
        if name.is_empty() || name.contains('{') {
            return Err(if name.is_empty() {
                TemplateError::NoName(text.into())
            } else {
                TemplateError::NotClosed(text.into())
            });
        }
        let known = self.columns.iter().position(|column| column == name);
        let index = known.unwrap_or_else(|| {
            self.columns.push(name.into());
            self.columns.len() - 1
        });
        self.pieces.push(Piece::Column(index));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn render(template: &str, values: &[Option<&str>]) -> Option<String> {
        Template::parse(template).unwrap().render(values).unwrap()
    }

    #[test]
    fn one_column_is_its_own_text() {
        assert_eq!(Template::parse("body").unwrap().columns(), ["body"]);
        assert_eq!(render("body", &[Some("a {b}")]), Some("a {b}".into()));
        assert_eq!(render("body", &[None]), None);
    }

    #[test]
    fn columns_are_filled_in() {
        assert_eq!(
            Template::parse("{title}: {body} {title}").unwrap().columns(),
            ["title", "body"]
        );
        assert_eq!(
            render("{title}: {body} {title}", &[Some("T"), Some("{title}")]),
            Some("T: {title} T".into())
        );
        assert_eq!(render("{a} {b}", &[Some("x"), None]), Some("x ".into()));
        assert_eq!(render("{a} {b}", &[None, None]), None);
        assert_eq!(render("{{{a}}} {{}}", &[Some("x")]), Some("{x} {}".into()));
        assert_eq!(render("Überschrift: {ä ö}", &[Some("ü")]), Some("Überschrift: ü".into()));
    }

    #[test]
    fn what_is_no_template_says_why() {
        let refused = |text: &str| Template::parse(text).unwrap_err();
        assert_eq!(refused("{a"), TemplateError::NotClosed("{a".into()));
        assert_eq!(refused("a}"), TemplateError::NotOpened("a}".into()));
        assert_eq!(refused("{}"), TemplateError::NoName("{}".into()));
        assert_eq!(refused(""), TemplateError::NoName("".into()));
        assert_eq!(refused("{a{b}"), TemplateError::NotClosed("{a{b}".into()));
        assert_eq!(refused("{{x}}"), TemplateError::NoColumns("{{x}}".into()));
    }

    proptest! {
        #[test]
        fn no_template_panics(text in "[{}a-z ü]{0,20}") {
            if let Ok(template) = Template::parse(&text) {
                let values = vec![Some("v".to_owned()); template.columns().len()];
                prop_assert!(template.render(&values).unwrap().is_some());
            }
        }
    }
}
