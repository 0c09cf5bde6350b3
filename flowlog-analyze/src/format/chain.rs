//! Chains of exceptions as Java, .NET, Node.js, Ruby, PHP and Python print them: how they begin,
//! which lines belong to them, and the exception that the others were raised for.

use super::error::is_typed;

/// Prefixes of an exception that nothing caught: PHP's and .NET's.
const UNCAUGHT: [&str; 5] = [
    "PHP Fatal error:  ",
    "PHP Parse error:  ",
    "Fatal error: Uncaught ",
    "Unhandled exception. ",
    "Unhandled Exception: ",
];

/// Prefixes of lines that occur only inside a chain.
const PARTS: [&str; 8] = [
    "Wrapped by: ",
    "Suppressed: ",
    "Stack trace:",
    "[stacktrace]",
    "[previous exception] ",
    "   --- End of ",
    "Causes:",
    "  thrown in ",
];

/// Returns whether a line is the beginning of an exception that nothing caught, or that a chain
/// continues with: in Ruby, each exception of a chain begins alike.
pub(super) fn begins(line: &[u8]) -> bool {
    // Most lines begin with another letter.
    matches!(line.first(), Some(b'P' | b'F' | b'U'))
        && UNCAUGHT.iter().any(|word| line.starts_with(word.as_bytes()))
        || is_ruby(line)
}

/// Returns whether a line belongs to the chain before it.
pub(super) fn is_part(line: &[u8]) -> bool {
    match line.first() {
        Some(b'#') => is_php_frame(line),
        // The classic builder of Docker writes ` ---> Running in 0123`.
        Some(b' ') if line.starts_with(b" ---> ") => {
            let kind =
                line.get(6..).and_then(|rest| rest.split(|b| matches!(b, b':' | b' ')).next());
            kind.is_some_and(|kind| std::str::from_utf8(kind).is_ok_and(is_typed))
        }
        Some(b' ' | b'[' | b'C' | b'S' | b'W') => {
            PARTS.iter().any(|word| line.starts_with(word.as_bytes()))
        }
        _ => false,
    }
}

/// Returns whether a line, after a blank one, goes on with the chain before it: `Next X: …` in PHP.
pub(super) fn goes_on(line: &[u8]) -> bool {
    let next = line.strip_prefix(b"Next ").and_then(|rest| rest.split(|byte| *byte == b':').next());
    let is_class = |kind: &[u8]| {
        kind.first().is_some_and(u8::is_ascii_uppercase)
            && kind.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'\\'))
    };
    next.is_some_and(is_class) || is_ruby(line)
}

/// Returns whether a line is `FILE.rb:LINE:in 'METHOD': MESSAGE (CLASS)`.
fn is_ruby(line: &[u8]) -> bool {
    if line.last() != Some(&b')') {
        return false;
    }
    let Some(end) = memchr::memchr(b':', line) else { return false };
    let (path, rest) = line.split_at(end);
    let digits = rest.iter().skip(1).take_while(|byte| byte.is_ascii_digit()).count();
    path.ends_with(b".rb")
        && !path.contains(&b' ')
        && digits > 0
        && rest.get(1 + digits..).is_some_and(|rest| {
            rest.starts_with(b":in ") && memchr::memmem::find(rest, b"': ").is_some()
        })
}

/// Returns whether a line is a frame of PHP: `#0 FILE(LINE): CALL`, `#5 {main}`.
fn is_php_frame(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"#") else { return false };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let Some(rest) = rest.get(digits..).and_then(|rest| rest.strip_prefix(b" ")) else {
        return false;
    };
    digits > 0
        && (rest.starts_with(b"{main}")
            || rest.starts_with(b"[internal function]")
            || memchr::memmem::find(rest, b"): ").is_some_and(|end| {
                let number =
                    rest.get(..end).unwrap_or_default().rsplit(|byte| *byte == b'(').next();
                number.is_some_and(|number| {
                    !number.is_empty() && number.iter().all(u8::is_ascii_digit)
                })
            }))
}

/// Returns the exception that the others of a chain were raised for, as it is printed: its type and
/// its message. `None` if the text has no chain.
pub fn root_cause(text: &str) -> Option<&str> {
    let root = of_php(text)
        .or_else(|| of_wrapped(text))
        .or_else(|| of_dotnet(text))
        .or_else(|| of_causes(text))
        .or_else(|| of_group(text))
        .or_else(|| of_python(text))
        .or_else(|| of_ruby(text))?;
    let root = root.trim().trim_end_matches(['{', ' ']);
    (!root.is_empty()).then_some(root)
}

/// PHP prints the root first, then each exception that wraps it.
fn of_php(text: &str) -> Option<&str> {
    let (before, _) = text.split_once("\nNext ")?;
    let (_, uncaught) = before.split_once("Uncaught ")?;
    let line = uncaught.lines().next()?;
    Some(line.rsplit_once(" in /").map_or(line, |(words, _)| words))
}

/// Logback can print the root first: the first exception, before everything that wraps it.
fn of_wrapped(text: &str) -> Option<&str> {
    let (before, _) = text.split_once("\nWrapped by: ")?;
    let mut lines = before.lines();
    let frame = lines.by_ref().zip(before.lines().skip(1)).find(|(_, next)| is_frame(next));
    frame.map(|(exception, _)| exception)
}

/// .NET lists the inner exceptions after arrows, outermost first, before the frames of the
/// innermost.
fn of_dotnet(text: &str) -> Option<&str> {
    let end = text.find("--- End of inner exception stack trace").unwrap_or(text.len());
    let (_, root) = text.get(..end)?.rsplit_once("---> ")?;
    let root = root.lines().next()?;
    let root = root.split("   at ").next().unwrap_or(root);
    let root = root.strip_prefix("(Inner Exception #0) ").unwrap_or(root);
    is_typed(root.split([':', ' ']).next()?).then_some(root)
}

/// Java, Node.js, Monolog and Rails name the cause of each exception below it. Causes of suppressed
/// exceptions are indented.
fn of_causes(text: &str) -> Option<&str> {
    const MARKS: [&str; 4] = ["Caused by: ", "[cause]: ", "caused by: ", "[previous exception] "];
    let cause = |line: &'_ str| MARKS.iter().any(|mark| line.starts_with(mark));
    let own = text.lines().rev().find(|line| cause(line));
    let indented = || {
        let is_cause = |line: &&str| cause(line.trim_start()) && line.contains(": ");
        let ends = |line: &&str| !line.trim_start().starts_with("Suppressed: ");
        text.lines().take_while(ends).filter(is_cause).last()
    };
    let line = own.or_else(indented);
    if let Some(line) = line {
        let line = line.trim_start();
        let words = MARKS.iter().find_map(|mark| line.strip_prefix(mark))?;
        return Some(of_object(words).unwrap_or(words));
    }
    let (_, causes) = text.split_once("Causes:\n")?;
    causes.lines().take_while(|line| line.trim_end().ends_with(')')).last()
}

/// Returns type and message of Monolog's `[object] (TYPE(code: 0): MESSAGE at FILE:LINE)`.
fn of_object(words: &str) -> Option<&str> {
    let object = words.strip_prefix("[object] (")?;
    Some(object.rsplit_once(" at /").map_or(object, |(words, _)| words))
}

/// Python prints the root first, then each exception that was raised for it or while it was handled.
fn of_python(text: &str) -> Option<&str> {
    const CHAINS: [&str; 2] =
        ["\nThe above exception was the direct cause", "\nDuring handling of the above exception"];
    let end = CHAINS.iter().filter_map(|sentence| text.find(sentence)).min()?;
    let last = text.get(..end)?.lines().rev().find(|line| !line.trim().is_empty())?;
    is_typed(last.split(": ").next().unwrap_or(last)).then_some(last)
}

/// Node.js and Python list the exceptions of a group below it. The first is as good as any.
fn of_group(text: &str) -> Option<&str> {
    if let Some((_, errors)) = text.split_once("[errors]: [") {
        return errors.lines().find(|line| line.contains(": ")).map(str::trim);
    }
    let (_, branch) = text.split_once("+---------------- 1 ----------------")?;
    let mut was_frame = false;
    branch.lines().find_map(|line| {
        let bare = line.trim_start_matches([' ', '|', '+', '-']);
        let kind = bare.split(": ").next().unwrap_or(bare);
        let is_exception = was_frame && flowlog_schema::is_error_type(kind) && is_typed(kind);
        was_frame |= bare.starts_with("File \"");
        is_exception.then_some(bare)
    })
}

/// Ruby prints a chain from the outermost exception to the root, each with its frames.
fn of_ruby(text: &str) -> Option<&str> {
    let mut exceptions = text.lines().rev().filter(|line| is_ruby(line.as_bytes()));
    let (last, _) = (exceptions.next()?, exceptions.next()?);
    last.split_once("': ").map(|(_, words)| words)
}

fn is_frame(line: &str) -> bool {
    let bare = line.trim_start();
    bare.len() < line.len() && (bare.starts_with("at ") || bare.starts_with("... "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_causes() {
        for (text, expected) in [
            (
                "boot failed\njava.lang.IllegalStateException: no pool\n\tat a.B.c(B.java:7)\nCaused by: a.PoolException: no seat\n\tat a.B.d(B.java:9)\n\tSuppressed: a.CloseException: late\n\t\tat a.B.e(B.java:3)\n\tCaused by: a.Other: x\nCaused by: java.net.ConnectException: Connection refused\n\t... 7 more",
                Some("java.net.ConnectException: Connection refused"),
            ),
            (
                "run failed\na.DateException: 30 February\n\tat a.D.p(D.java:1)\nWrapped by: a.RunException: run 7\n\tat a.D.r(D.java:2)",
                Some("a.DateException: 30 February"),
            ),
            (
                "System.AggregateException: One or more errors occurred.\n ---> Shop.ImportException: part 7\n ---> System.IO.IOException: No space left on device\n   at Shop.Import.Run()\n   --- End of inner exception stack trace ---\n   at Shop.Import.All()",
                Some("System.IO.IOException: No space left on device"),
            ),
            (
                "exit A.B: a ---> C.DException: b ---> E.FException: c   at G.H()   --- End of inner exception stack trace ---   at I.J()",
                Some("E.FException: c"),
            ),
            (
                "app.rb:7:in `run': batch aborted (Batch::Failed)\n\tfrom app.rb:9:in `<main>'\n/usr/lib/ruby/json.rb:2:in `parse': unexpected token (JSON::ParserError)\n\tfrom app.rb:3:in `load'",
                Some("unexpected token (JSON::ParserError)"),
            ),
            (
                "ActionView::Template::Error (no list):\nCauses:\nOrders::ListError (no list)\nPG::InsufficientPrivilege (permission denied)\n\napp/views/x.erb:3",
                Some("PG::InsufficientPrivilege (permission denied)"),
            ),
            (
                "PHP Fatal error:  Uncaught ErrorException: no route to db in /srv/a.php:7\nStack trace:\n#0 {main}\n\nNext App\\RunException: run 7 in /srv/a.php:9\nStack trace:\n#0 {main}",
                Some("ErrorException: no route to db"),
            ),
            (
                "stopped {\"exception\":\"[object] (RuntimeException(code: 0): too many tries at /srv/a.php:7)\n[stacktrace]\n#0 {main}\n\n[previous exception] [object] (DiskException(code: 28): no space left at /srv/b.php:2)\n[stacktrace]\n#0 {main}\n\"}",
                Some("DiskException(code: 28): no space left"),
            ),
            (
                "Error: checkout failed\n    at pay (/srv/a.js:7:3) {\n  [cause]: Error: no quote\n      at quote (/srv/b.js:2:1) {\n    [cause]: Error: connect ECONNREFUSED 10.0.0.7:8443\n        at x (node:net:1) {\n      errno: -111\n",
                Some("Error: connect ECONNREFUSED 10.0.0.7:8443"),
            ),
            (
                "AggregateError: All promises were rejected\n    at f (/srv/a.js:1:1) {\n  [errors]: [\n    Error: connect ECONNREFUSED 10.0.0.7:9300\n        at x (node:net:1)",
                Some("Error: connect ECONNREFUSED 10.0.0.7:9300"),
            ),
            (
                "  + Exception Group Traceback (most recent call last):\n  |   File \"/srv/a.py\", line 7, in main\n  | ExceptionGroup: errors in a TaskGroup (1 sub-exception)\n  +-+---------------- 1 ----------------\n    | Traceback (most recent call last):\n    |   File \"/srv/a.py\", line 3, in parse\n    |     return raw.decode()\n    | UnicodeDecodeError: invalid start byte\n    | \n    | The above exception was the direct cause of the following exception:\n    | \n    | ParseError: x",
                Some("UnicodeDecodeError: invalid start byte"),
            ),
            (
                "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nKeyError: 'CHF'\n\nThe above exception was the direct cause of the following exception:\n\nTraceback (most recent call last):\n  File \"a.py\", line 3, in g\nRunError: x",
                Some("KeyError: 'CHF'"),
            ),
            ("app.rb:7:in `run': alone (Batch::Failed)\n\tfrom app.rb:9:in `<main>'", None),
            ("java.lang.IllegalStateException: alone\n\tat a.B.c(B.java:7)", None),
            ("no exception ---> at all", None),
            ("", None),
        ] {
            assert_eq!(root_cause(text), expected, "{text}");
        }
    }

    #[test]
    fn lines_of_chains() {
        for (line, starts, part, next) in [
            ("PHP Fatal error:  Uncaught Error: x in /a.php:7", true, false, false),
            ("Unhandled exception. System.Exception: x", true, false, false),
            ("/app/a.rb:7:in `f': x (Y)", true, false, true),
            ("/app/a.rb:7: warning: x", false, false, false),
            ("see /app/a.rb:7:in `f': x", false, false, false),
            ("#0 /srv/a.php(7): f()", false, true, false),
            ("#5 {main}", false, true, false),
            ("#5 is the fifth", false, false, false),
            ("#14 9.8 /src/A.cs(7,3): error CS0103: x", false, false, false),
            (" ---> Running in 0123456789ab", false, false, false),
            (" ---> System.IO.IOException: x", false, true, false),
            ("Next App\\RunException: x", false, false, true),
            ("Next up: tests", false, false, false),
            ("Next step: x", false, false, false),
            ("[previous exception] [object] (X(code: 0): y)", false, true, false),
        ] {
            let line = line.as_bytes();
            assert_eq!(
                (begins(line), is_part(line), goes_on(line)),
                (starts, part, next),
                "{line:?}"
            );
        }
    }
}
