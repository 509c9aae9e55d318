"""Shell syntax: quoting, words, lists of commands. Just what a POSIX shell and this one read alike.

    list      = and_or { (";" | newline) and_or }
    and_or    = command { ("&&" | "||") command }
    command   = { NAME=word } { word | redirection }
    redirection = [digit] (">" | ">>" | "<") word | [digit] ">&" digit

What is beyond that (pipes, substitutions, control flow) is refused by name, never read as something else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATORS = ("&&", "||", ">>", ">&", "<<", "<&", ";;", ";", "&", "|", "<", ">", "(", ")", "\n")
_REFUSED = {
    "|": "pipes", "&": "background commands", "(": "subshells", ")": "subshells", "<<": "here documents",
    "<&": "input duplication", ";;": "case",
}  # fmt: skip
_RESERVED = frozenset(
    ("if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "esac", "{", "}", "!")
)


class ShellSyntaxError(Exception):
    """Text that is no command here. The message is what the shell prints."""


class IncompleteError(ShellSyntaxError):
    """The text ends inside quotes: with more lines it may be complete."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a word: literal text, or the value of a variable; quoted pieces are neither split nor matched."""

    text: str
    quoted: bool
    variable: bool = False


Word = tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Redirection:
    """`descriptor` goes to a file (`>`, `>>`, `<`) or to where another descriptor goes (`>&`)."""

    descriptor: int
    operator: str
    target: Word


@dataclass(slots=True)
class Command:
    """One simple command; `joint` is how it follows the one before: ";", "&&" or "||"."""

    joint: str = ";"
    assignments: list[tuple[str, Word]] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    redirections: list[Redirection] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Nothing has been read into it yet."""
        return not (self.assignments or self.words or self.redirections)


@dataclass(frozen=True, slots=True)
class _Operator:
    text: str
    descriptor: int | None = None


class _Lexer:
    """Text -> words and operators."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.parts: list[Part] = []
        self.in_word = False

    def tokens(self) -> list[Word | _Operator]:
        found: list[Word | _Operator] = []
        while self.at < len(self.text):
            c = self.text[self.at]
            operator = next((op for op in _OPERATORS if self.text.startswith(op, self.at)), None)
            if operator:
                descriptor = self._take_descriptor(operator)
                self._end_word(found)
                found.append(_Operator(operator, descriptor))
                self.at += len(operator)
            elif c in " \t\r":
                self._end_word(found)
                self.at += 1
            elif c == "#" and not self.in_word:
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            else:
                self._word_piece(c)
        self._end_word(found)
        return found

    def _take_descriptor(self, operator: str) -> int | None:
        """The digit directly in front of a redirection belongs to it, and is no word."""
        if operator[0] in "<>" and len(self.parts) == 1 and not self.parts[0].quoted and self.parts[0].text.isdigit():
            self.in_word = False
            return int(self.parts.pop().text)
        return None

    def _end_word(self, found: list[Word | _Operator]) -> None:
        if self.in_word:
            found.append(tuple(self.parts))
        self.parts = []
        self.in_word = False

    def _add(self, text: str, quoted: bool, variable: bool = False) -> None:
        last = self.parts[-1] if self.parts else None
        if last and not variable and not last.variable and last.quoted == quoted:
            self.parts[-1] = Part(last.text + text, quoted)
        else:
            self.parts.append(Part(text, quoted, variable))

    def _word_piece(self, c: str) -> None:
        if c == "~" and not self.in_word:
            raise ShellSyntaxError("syntax error: '~' is not supported by the virtual device's shell")
        self.in_word = True
        if c == "'":
            end = self.text.find("'", self.at + 1)
            if end < 0:
                raise IncompleteError("syntax error: unterminated quoted string")
            self._add(self.text[self.at + 1 : end], quoted=True)
            self.at = end + 1
        elif c == '"':
            self._double_quotes()
        elif c == "\\":
            self._backslash()
        elif c == "$":
            self._variable(quoted=False)
        elif c == "`":
            raise ShellSyntaxError("syntax error: command substitution is not supported by the virtual device's shell")
        else:
            self._add(c, quoted=False)
            self.at += 1

    def _backslash(self) -> None:
        if self.at + 1 >= len(self.text):
            raise IncompleteError("syntax error: unexpected end after \\")
        if self.text[self.at + 1] != "\n":
            self._add(self.text[self.at + 1], quoted=True)
        self.at += 2

    def _double_quotes(self) -> None:
        self.at += 1
        self._add("", quoted=True)
        while True:
            if self.at >= len(self.text):
                raise IncompleteError("syntax error: unterminated quoted string")
            c = self.text[self.at]
            if c == '"':
                self.at += 1
                return
            if c == "\\" and self.text[self.at + 1 : self.at + 2] in ("$", "`", '"', "\\", "\n"):
                escaped = self.text[self.at + 1]
                self._add("" if escaped == "\n" else escaped, quoted=True)
                self.at += 2
            elif c == "$":
                self._variable(quoted=True)
            elif c == "`":
                raise ShellSyntaxError(
                    "syntax error: command substitution is not supported by the virtual device's shell"
                )
            else:
                self._add(c, quoted=True)
                self.at += 1

    def _variable(self, quoted: bool) -> None:
        rest = self.text[self.at + 1 :]
        if rest[:1] == "(":
            raise ShellSyntaxError(
                "syntax error: command substitution is not supported by the virtual device's shell"
            )
        if rest[:1] == "{":
            end = rest.find("}")
            name = rest[1:end] if end > 0 else ""
            if not _NAME.fullmatch(name) and name not in ("?", "$"):
                raise ShellSyntaxError(f"${{{name}: bad substitution")
            self._add(name, quoted, variable=True)
            self.at += 1 + end + 1
        elif rest[:1] in ("?", "$"):
            self._add(rest[0], quoted, variable=True)
            self.at += 2
        elif match := _NAME.match(rest):
            self._add(match.group(), quoted, variable=True)
            self.at += 1 + match.end()
        elif rest[:1] and rest[0] in ("-#@*!0123456789" if quoted else "-#@*!0123456789'\""):
            raise ShellSyntaxError(f"syntax error: '${rest[0]}' is not supported by the virtual device's shell")
        else:
            self._add("$", quoted)
            self.at += 1


def parse(text: str) -> list[Command]:
    """Reads a list of commands.

    Raises:
        IncompleteError: The text ends inside quotes or after a joint.
        ShellSyntaxError: Anything that this shell does not know.
    """
    commands: list[Command] = []
    current = Command()
    tokens = _Lexer(text).tokens()
    at = 0
    while at < len(tokens):
        token = tokens[at]
        at += 1
        if not isinstance(token, _Operator):
            _add_word(current, token)
        elif token.text in (";", "\n", "&&", "||"):
            current = _next_command(commands, current, token.text)
        elif token.text in _REFUSED:
            raise ShellSyntaxError(
                f"syntax error: '{token.text}' unexpected ({_REFUSED[token.text]} are not supported by the virtual device's shell)"
            )
        else:
            target = tokens[at] if at < len(tokens) else None
            if target is None or isinstance(target, _Operator):
                raise ShellSyntaxError(f"syntax error: '{token.text}' without a target")
            at += 1
            default = 0 if token.text == "<" else 1
            descriptor = default if token.descriptor is None else token.descriptor
            current.redirections.append(Redirection(descriptor, token.text, target))
    if not current.empty:
        commands.append(current)
    elif current.joint != ";":
        raise IncompleteError(f"syntax error: unexpected end after '{current.joint}'")
    return commands


def _next_command(commands: list[Command], current: Command, joint: str) -> Command:
    if current.empty:
        if joint == "\n":  # an empty line, or a line that ends with && or ||
            return current
        raise ShellSyntaxError(f"syntax error: '{joint}' unexpected")
    commands.append(current)
    return Command(joint=";" if joint == "\n" else joint)


def _add_word(command: Command, word: Word) -> None:
    first = word[0] if word else None
    plain = first is not None and not first.quoted and not first.variable
    if not command.words and first is not None and plain:
        name, equals, rest = first.text.partition("=")
        if equals and _NAME.fullmatch(name):
            if "~" in rest:
                raise ShellSyntaxError("syntax error: '~' is not supported by the virtual device's shell")
            value = (Part(rest, False), *word[1:]) if rest else tuple(word[1:])
            command.assignments.append((name, value))
            return
        if len(word) == 1 and first.text in _RESERVED:
            raise ShellSyntaxError(
                f"syntax error: '{first.text}' unexpected (control flow is not supported by the virtual device's shell)"
            )
    command.words.append(word)
