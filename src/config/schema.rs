//! The JSON Schema of the configuration, and every structural mistake of a
//! document against it.
//!
//! serde stops at its first error; a technician wants all of them. So the
//! document is first walked beside the schema that is made from the same
//! structs: unknown keys, missing keys, wrong types and values out of bounds
//! are reported, and each bad value is replaced by a stand-in that
//! deserialises. The semantic checks then run on the rest, and what they say
//! about a stand-in is left out.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::problems::{Problem, Problems, nearest};

/// The JSON Schema (2020-12) of a configuration file; every object is closed.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(super::ConfigFile).to_value();
    close(&mut schema);
    schema
}

/// Sets `additionalProperties: false` on every object that lists its properties.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("properties").is_some_and(Value::is_object) {
                map.entry("additionalProperties").or_insert(json!(false));
            }
            map.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// Reports every structural mistake of `doc` and mends it so that it
/// deserialises.
pub fn mend(schema: &Value, doc: &mut Value, problems: &mut Problems) -> StandIns {
    let mut walk = Walk { root: schema, problems, stand_ins: BTreeSet::new() };
    if !walk.value(schema, doc, "") {
        *doc = walk.stand_in(schema, "");
    }
    StandIns(walk.stand_ins)
}

/// Keys whose values were replaced.
pub struct StandIns(BTreeSet<String>);

impl StandIns {
    /// True if the problem is only about a replaced value.
    pub fn explains(&self, problem: &Problem) -> bool {
        self.0.iter().any(|key| {
            problem.key == *key
                || (problem.key.starts_with(key.as_str())
                    && matches!(problem.key.as_bytes().get(key.len()), Some(b'.' | b'[')))
        })
    }
}

struct Walk<'a> {
    root: &'a Value,
    problems: &'a mut Problems,
    stand_ins: BTreeSet<String>,
}

impl Walk<'_> {
    /// Follows `$ref`; the schema is ours, so a dangling one is an empty schema.
    fn resolve<'s>(&'s self, schema: &'s Value) -> &'s Value {
        match schema.get("$ref").and_then(Value::as_str) {
            Some(path) => self
                .resolve(self.root.pointer(path.trim_start_matches('#')).unwrap_or(&Value::Null)),
            None => schema,
        }
    }

    /// The alternatives of a schema, `null` left out: TOML has none.
    fn variants(&self, schema: &Value) -> Vec<Value> {
        let schema = self.resolve(schema);
        let any = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array);
        match any {
            None => vec![schema.clone()],
            // An optional choice is a choice within a choice.
            Some(any) => (any.iter().flat_map(|s| self.variants(s)))
                .filter(|s| s.get("type") != Some(&json!("null")))
                .collect(),
        }
    }

    /// True if `value` is usable, perhaps after mending its inside.
    fn value(&mut self, schema: &Value, value: &mut Value, at: &str) -> bool {
        let variants = self.variants(schema);
        if variants.iter().any(|v| v.get("const").is_some()) {
            let words: Vec<&Value> = variants.iter().flat_map(words).collect();
            return self.one_of(&words, value, at);
        }
        if let [only] = variants.as_slice() {
            return self.single(only, value, at);
        }
        // A choice of types: silent if one fits, else name them all.
        let fits = variants.iter().find(|v| types(v).iter().any(|t| has_type(value, t))).cloned();
        match fits {
            Some(schema) => self.single(&schema, value, at),
            None => {
                let known: Vec<String> = variants.iter().flat_map(types).collect();
                self.wrong_type(at, &known, value)
            }
        }
    }

    fn single(&mut self, schema: &Value, value: &mut Value, at: &str) -> bool {
        if schema.get("enum").is_some() {
            return self.one_of(&words(schema), value, at);
        }
        let known = types(schema);
        if !known.is_empty() && !known.iter().any(|t| has_type(value, t)) {
            return self.wrong_type(at, &known, value);
        }
        match value {
            Value::Object(map) => {
                self.object(schema, map, at);
                true
            }
            Value::Array(items) => self.array(schema, items, at),
            Value::Number(_) => self.number(schema, value, at),
            Value::String(text) => {
                let longest = schema.get("maxLength").and_then(Value::as_u64);
                if let Some(most) = longest
                    && text.chars().count() as u64 > most
                {
                    self.problems.add(at, format!("longer than {most} characters"));
                    return false;
                }
                true
            }
            _ => true,
        }
    }

    fn wrong_type(&mut self, at: &str, known: &[String], value: &Value) -> bool {
        let shown: String = value.to_string().chars().take(60).collect();
        self.problems
            .add(at, format!("{shown} is {}, not {}", type_name(value), known.join(" or ")));
        false
    }

    fn one_of(&mut self, words: &[&Value], value: &Value, at: &str) -> bool {
        if words.contains(&value) {
            return true;
        }
        let names = || words.iter().filter_map(|w| w.as_str());
        let near = value.as_str().map_or(String::new(), |v| nearest(v, names()));
        let list = names().collect::<Vec<_>>().join(", ");
        self.problems.add(at, format!("{value} is not one of {list}{near}"));
        false
    }

    fn number(&mut self, schema: &Value, value: &Value, at: &str) -> bool {
        let n = value.as_f64().unwrap_or(f64::NAN);
        let least = schema.get("minimum").and_then(Value::as_f64);
        let most = schema.get("maximum").and_then(Value::as_f64);
        if least.is_some_and(|l| n < l) || most.is_some_and(|m| n > m) {
            let bounds = match (least, most) {
                (Some(l), Some(m)) => format!("from {l} to {m}"),
                (Some(l), None) => format!("{l} or more"),
                (None, Some(m)) => format!("at most {m}"),
                (None, None) => return true,
            };
            self.problems.add(at, format!("{value}: use {bounds}"));
            return false;
        }
        true
    }

    fn array(&mut self, schema: &Value, items: &mut [Value], at: &str) -> bool {
        let count = |key| schema.get(key).and_then(Value::as_u64).map(|n| n as usize);
        let (least, most) =
            (count("minItems").unwrap_or(0), count("maxItems").unwrap_or(usize::MAX));
        if items.len() < least || items.len() > most {
            let want =
                if least == most { format!("{least}") } else { format!("{least} to {most}") };
            self.problems.add(at, format!("has {} entries, not {want}", items.len()));
            return false;
        }
        let Some(each) = schema.get("items").cloned() else { return true };
        for (i, item) in items.iter_mut().enumerate() {
            let at = format!("{at}[{i}]");
            if !self.value(&each, item, &at) {
                *item = self.stand_in(&each, &at);
            }
        }
        true
    }

    fn object(&mut self, schema: &Value, map: &mut Map<String, Value>, at: &str) {
        let empty = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let open = schema.get("additionalProperties");
        let join = |key: &str| if at.is_empty() { key.into() } else { format!("{at}.{key}") };
        let keys: Vec<String> = map.keys().cloned().collect();
        for key in keys {
            let at = join(&key);
            let Some(inner) = properties.get(&key).or(open.filter(|s| s.is_object())) else {
                if open != Some(&json!(true)) && !properties.is_empty() {
                    let near = nearest(&key, properties.keys().map(String::as_str));
                    self.problems.add(at, format!("unknown key{near}"));
                    map.remove(&key);
                }
                continue;
            };
            let mut value = map.get_mut(&key).map(Value::take).unwrap_or_default();
            if !self.value(inner, &mut value, &at) {
                let required = schema.get("required").and_then(Value::as_array);
                if !required.is_some_and(|all| all.iter().any(|k| k.as_str() == Some(&key))) {
                    // Its default fits with the rest; any other value may not.
                    self.stand_ins.insert(at);
                    map.remove(&key);
                    continue;
                }
                value = self.stand_in(inner, &at);
            }
            map.insert(key, value);
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for key in required.filter_map(Value::as_str) {
            if !map.contains_key(key) {
                let at = join(key);
                let inner = properties.get(key).cloned().unwrap_or_default();
                let said = inner.get("description").and_then(Value::as_str).unwrap_or("required");
                let said = said.lines().next().unwrap_or("required");
                self.problems.add(&at, format!("missing ({said})"));
                let value = self.stand_in(&inner, &at);
                map.insert(key.into(), value);
            }
        }
    }

    /// A value of the right type for `at`, remembered as such.
    fn stand_in(&mut self, schema: &Value, at: &str) -> Value {
        self.stand_ins.insert(at.into());
        let number = self.stand_ins.len();
        self.blank(schema, number)
    }

    fn blank(&self, schema: &Value, number: usize) -> Value {
        let Some(schema) = self.variants(schema).into_iter().next() else { return Value::Null };
        if let Some(word) = words(&schema).first() {
            return (*word).clone();
        }
        let least = || schema.get("minimum").cloned();
        match types(&schema).first().map_or("", String::as_str) {
            // Unique, so that ids and names do not collide.
            "string" => json!(format!("stand-in-{number}")),
            "integer" => least().and_then(|v| v.as_f64()).map_or(json!(1), |n| json!(n as i64)),
            "number" => least().unwrap_or(json!(1.0)),
            "boolean" => json!(false),
            "array" => {
                let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
                let items = schema.get("items").cloned().unwrap_or_default();
                (0..least).map(|_| self.blank(&items, number)).collect()
            }
            "object" => {
                let required = schema.get("required").and_then(Value::as_array);
                let keys = required.into_iter().flatten().filter_map(Value::as_str);
                let inner = |key| schema.pointer(&format!("/properties/{key}"));
                keys.filter_map(|k| Some((k.to_owned(), self.blank(inner(k)?, number)))).collect()
            }
            _ => Value::Null,
        }
    }
}

/// The literal values that a schema allows; empty for any other schema.
fn words(schema: &Value) -> Vec<&Value> {
    let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    listed.chain(schema.get("const")).filter(|v| !v.is_null()).collect()
}

/// The types that a schema allows, `null` left out.
fn types(schema: &Value) -> Vec<String> {
    let all = match schema.get("type") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => {
            many.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    };
    all.into_iter().filter(|t| t != "null").collect()
}

fn has_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => false,
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "not finite",
        Value::Bool(_) => "a boolean",
        Value::Number(n) if n.is_f64() => "a number",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "a table",
    }
}
