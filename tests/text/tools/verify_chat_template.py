#!/usr/bin/env python3
"""Compares rendered chat templates with Jinja itself, set up as `transformers` does.

usage: verify_chat_template.py --binary PATH/render_chat [--gguf FILE...] [--write-golden FILE]

Templates: those of the GGUF files, tests/text/data/*.jinja, and the snippets below, which go through the language piece by
piece. --write-golden stores what Jinja makes of the data files and the snippets, for the unit tests. Needs jinja2, and for GGUF
files `gguf` (pip). Exit code 1 on a difference.
"""
import argparse
import json
import pathlib
import subprocess
import sys

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

DATA = pathlib.Path(__file__).resolve().parent.parent / "data"

SNIPPETS = r"""
a{% if true %}b{% endif %}c
  {% if true %}  x  {% endif %}  y
x  {%- if true -%}  y  {%- endif -%}  z
<{{- 1 -}}   > <{{ 2 -}}   > <   {{- 3 }} >
{# gone #}kept{#- gone -#}   joined  {# c #}
{%+ if true %} kept {%+ endif %}
{% if true +%}\n a{% endif %}
line one\n  {% if true %}\n  line two\n  {% endif %}\nline three\n
line one\n\t{% set x = 1 %}   \nline two {{ x }}\n\n
\r\na\r{% if true %}\r\nb{% endif %}\n\n
{{ 'a' 'b' "c" }}
{{ 'it\'s' }}{{ "\"q\"" }}{{ '\\n\n\t\x41\u00e9' }}{{ '\d\w' }}
{{ 1 + 2 * 3 - 4 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }}
{{ 'a' + 'b' ~ 1 ~ true ~ none }} {{ 'ab' * 3 }} {{ 2 * 'x' }}
{{ 1 + 2 ~ 3 }} {{ 1 ~ 2 * 3 }}
{{ 1 == 1 }} {{ 1 == true }} {{ 0 == false }} {{ '1' == 1 }} {{ none == none }} {{ [1,'a'] == [1,'a'] }} {{ {'a':1} == {'a':1} }}
{{ 1 < 2 }} {{ 2 <= 2 }} {{ 'a' < 'b' }} {{ 'a' > 'B' }} {{ 3 >= 4 }} {{ 1 != 2 }}
{{ not true }} {{ not '' }} {{ not [] }} {{ not none }} {{ not {} }} {{ not 0 }} {{ not x }}
{{ true and 'a' }} {{ '' or 'b' }} {{ none or false or 'c' }} {{ 'x' and '' }} {{ not true or true }} {{ not (true and false) }}
{{ 'a' in 'abc' }} {{ 'd' not in 'abc' }} {{ 1 in [1,2] }} {{ 'k' in {'k': 1} }} {{ 'a' in ('a', 'b') }} {{ not 'a' in 'b' }} {{ 'a' in nothing }}
{{ 'yes' if true else 'no' }} {{ 'yes' if false else 'no' }} {{ ('a' if 0 else 'b' if 0 else 'c') }}
{{ [1,2,3][0] }} {{ [1,2,3][-1] }} {{ 'abc'[1] }} {{ 'h\u00e9llo'[1] }} {{ 'h\u00e9llo'[::-1] }} {{ 'abcdef'[1:4] }} {{ 'abcdef'[:-2] }} {{ 'abcdef'[-3:] }} {{ 'abcdef'[::2] }} {{ 'abc'[5:] }} {{ 'abcdef'[4:1:-1] }} {{ 'abc'[-9:9] }}
{{ [1,2,3,4][1:] | join(',') }} {{ [1,2,3][::-1] | join }} {{ [1,2,3,4][-2:] | join('-') }} {{ [][1:] | length }} {{ [1,2,3][2:0:-1] | join }} {{ [1,2,3][9:] | length }}
{{ {'a': 1, 'b': {'c': 'd'}}.b.c }} {{ {'a': 1}['a'] }} {{ {'a': 1}.get('a') }} {{ {'a': 1}.get('z') }} {{ {'a': 1}.get('z', 'dflt') }}
{% for k, v in {'x': 1, 'y': 2}.items() %}{{ k }}={{ v }};{% endfor %}{% for k in {'x': 1} %}{{ k }}{% endfor %}{{ {'p': 1, 'q': 2}.keys() | list | join }}{{ {'p': 1, 'q': 2}.values() | list | join }}{% for k, v in {'x': 1}|items %}{{ k }}{{ v }}{% endfor %}
{% for i in range(5) %}{{ i }}{% if not loop.last %},{% endif %}{% endfor %} {% for i in range(2, 8, 3) %}{{ i }}{% endfor %} {% for i in range(3, 0, -1) %}{{ i }}{% endfor %}
{% for x in 'ab' %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ x }} {% endfor %}
{% for x in [1,2,3] %}{{ loop.previtem if loop.previtem is defined else '-' }}{{ x }}{{ loop.nextitem if not loop.last else '.' }} {% endfor %}
{% for x in [1,2,3,4] if x % 2 == 0 %}{{ loop.index }}:{{ x }}/{{ loop.length }} {% else %}none{% endfor %}
{% for x in [] %}x{% else %}empty{% endfor %}{% for x in nothing %}x{% else %}undefined{% endfor %}
{% for x in [1,2,3,4,5] %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 4 %}{% break %}{% endif %}{{ x }}{% endfor %}
{% for x in [1,2] %}{% for y in [3,4] %}{{ loop.index }}{{ x }}{{ y }} {% endfor %}{{ loop.index }};{% endfor %}
{% set x = 1 %}{% for i in [1,2,3] %}{% set x = x + i %}{{ x }} {% endfor %}{{ x }}
{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}
{% set ns = namespace(n=0, s='') %}{% for i in [1,2,3] %}{% set ns.n = ns.n + i %}{% set ns.s = ns.s ~ i %}{% endfor %}{{ ns.n }} {{ ns.s }}
{% set ns = namespace() %}{% set ns.a = 'x' %}{{ ns.a }}{{ ns.b is defined }}
{% set block %}  inner {{ 1 + 1 }}  {% endset %}[{{ block }}]{{ block | trim }}
{% if a is defined %}1{% elif b is undefined %}2{% else %}3{% endif %}{% if false %}x{% elif false %}y{% else %}z{% endif %}
{{ none is none }} {{ x is none }} {{ 1 is number }} {{ true is number }} {{ 1 is integer }} {{ true is integer }} {{ true is boolean }} {{ 'a' is string }} {{ {} is mapping }} {{ [] is sequence }} {{ 'a' is iterable }} {{ 1 is iterable }} {{ {} is iterable }} {{ x is iterable }} {{ x is sequence }} {{ true is true }} {{ 1 is true }} {{ false is false }} {{ 0 is false }}
{{ 3 is odd }} {{ 3 is even }} {{ 6 is divisibleby 3 }} {{ 6 is divisibleby(4) }} {{ 'a' is eq 'a' }} {{ 'a' is equalto('b') }} {{ 1 is ne 2 }} {{ 1 is lt 2 }} {{ 2 is ge(2) }} {{ 'a' is in ['a'] }} {{ 1 is not none }} {{ range is callable }} {{ 'a' is not string or true }}
{{ '  a b  ' | trim }}|{{ '\u3000x\u00a0' | trim }}|{{ 'xxaxx' | trim('x') }}|{{ 'abc' | upper }}{{ 'ABC' | lower }}{{ 'hello World' | capitalize }}{{ 'hello wORLD' | title }}
{{ 'h\u00e9' | length }} {{ [1,2] | length }} {{ {'a':1} | count }} {{ nothing | length }} {{ 5 | string + 'x' }}
{{ x | default('d') }} {{ '' | default('d') }} {{ '' | default('d', true) }} {{ none | d('e') }} {{ none | default('e', boolean=true) }} {{ 'v' | default('d') }}[{{ x | default }}]
{{ [3,1,2] | first }} {{ [3,1,2] | last }} {{ 'abc' | first }} {{ [1,2,3] | reverse | join(' ') }} {{ 'abc' | reverse }} {{ 'abc' | list | join('.') }} {{ ['a', 1, true, none] | join('/') }}
{{ 'a-b-c' | replace('-', '+') }} {{ 'aaa' | replace('a', 'b', 2) }} {{ 'abab'.replace('ab', 'c') }} {{ '12' | int + 1 }} {{ ' 7 ' | int }} {{ true | int }}
{{ [{'r': 'u', 'n': 1}, {'r': 'a', 'n': 2}, {'r': 'u', 'n': 3}] | selectattr('r', 'equalto', 'u') | map(attribute='n') | join(',') }}
{{ [{'r': 'u'}, {'r': ''}] | selectattr('r') | list | length }} {{ [{'r': 'u'}, {'q': 1}] | rejectattr('r', 'defined') | list | length }} {{ [1, 2, 3, 4] | select('odd') | join }} {{ [1, none, 2] | reject('none') | join }} {{ ['a', 'b'] | map('upper') | join }} {{ [0, 1] | select | join }} {{ ['x', 'y'] | reject('in', ['x']) | join }} {{ [{'a': {'b': 5}}] | map(attribute='a.b') | first }}
{{ {'a': [1, 'x\n"\u00e9', none, true], 'b': {}} | tojson }} {{ [] | tojson }} {{ 'a/b<c>\x01' | tojson }}
{{ {'a': [1, {'b': 2}], 'c': []} | tojson(indent=2) }}
{{ 'x,y,,z'.split(',') | join('|') }} {{ ' a  b\tc '.split() | join('|') }} {{ 'a,b,c'.split(',', 1) | join('|') }} {{ 'abc'.split('x') | length }} {{ ''.split() | length }} {{ ''.split(',') | length }} {{ 'a b c'.split(maxsplit=1) | join('|') }}
[{{ '  x '.strip() }}][{{ '  x '.lstrip() }}][{{ '  x '.rstrip() }}][{{ 'xxyxx'.strip('x') }}][{{ '\n\na\n'.lstrip('\n') }}][{{ '\u00e9\u00e8a'.lstrip('\u00e8\u00e9') }}][{{ ''.strip() }}]
{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith('bc') }} {{ 'abc'.startswith('') }} {{ 'abc'.upper() }} {{ 'ABC'.lower() }} {{ 'abc'.capitalize() }} {{ 'a bc'.title() }} {{ 'h\u00e9y'.find('y') }} {{ 'a'.find('b') }}
{% macro f(a, b='B') %}[{{ a }}{{ b }}]{% endmacro %}{{ f('x') }}{{ f('x', 'y') }}{{ f(a='p', b='q') }}{{ f('x') | length }}
{% set g = 'global' %}{% macro f() %}{{ g }}{% endmacro %}{% for g in ['loop'] %}{{ f() }}{{ g }}{% endfor %}
{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}
{{ messages[0]['role'] }} {{ messages[0].content }} {{ messages | length }} {{ messages[-1]['role'] }} {{ 'tool_calls' in messages[0] }} {{ messages[0].tool_calls is defined }} {{ messages[0]['x'] is defined }} {{ messages[7] is defined }}
{{ messages | tojson }}
{% for m in messages %}{{ loop.index0 }}{{ m.role }}{{ m['content'] | trim }}{% endfor %}{{ add_generation_prompt }}{{ tools is none }}{{ bos_token }}{{ eos_token }}
{{ (messages | length - 1) - 1 }} {{ messages[1:][0].role }} {{ messages[::-1][0].role }} {{ (messages | last).role }} {{ messages | map(attribute='role') | join(',') }}
{% set a, b = 1, 2 %}{{ a }}
{{ 1.5 }}
{{ 'abc' | wordcount }}
{{ x is foo }}
{{ 'a'.encode() }}
{% include 'x' %}
{{ 1 / 2 }}
{{ 2 ** 3 }}
{{ joiner(',')() }}
{{ strftime_now('%Y') }}
{{ nothing.attr }}
{{ nothing + 'x' }}
{{ 1 + 'x' }}
{{ raise_exception('no thanks') }}
{% if true %}
{{ 'a }}
{{ 1 2 }}
{{ -3 | abs }}
{{ 'a' % 1 }}
{{ 1 < 2 < 3 }}
{{ - 3 }} {{ -x if false else 1 }} {{ 3 - -2 }} {{ -(1 + 2) * 2 }}
{{ {'a': {'b': {'c': 1}}} }}
{{ "{% not a tag %}" }} {{ '{{ }}' }}{{ '}' }} {{ {'x': '}}'}['x'] }}
{{ dict(a=1, b='x')['b'] }} {{ namespace(q=3).q }}
{{ ('x') }} {{ () | length }} {{ (1,) | length }} {{ [1, 2,] | length }} {{ {'a': 1,} | length }}
{{ true if 'a' in 'b' or 'c' == 'c' else false }} {{ 'A' if x is defined and x else 'B' }} {{ 1 if not x is defined else 2 }}
{{ ('a' ~ 'b').upper() }} {{ ['b','a'][0].upper() }} {{ ' x '.strip().upper()[0] }} {{ {'f': 'g'}.f.upper() | lower }}
""".strip("\n").split("\n")

CONVERSATIONS = [
    [("user", "Hi")],
    [("system", "Be brief."), ("user", " What is 2+2? \n")],
    [("user", "a"), ("assistant", "b"), ("user", "c\n\n")],
    [("system", ""), ("user", ""), ("assistant", ""), ("user", "")],
    [("user", "q"), ("assistant", "<think>\nhm\n\n</think>\n\nanswer"), ("user", "q2"), ("assistant", "\n<think>why</think>\nbecause")],
    [("user", "<tool_response>x</tool_response>"), ("assistant", "ok")],
    [("user", "tool?"), ("assistant", "call"), ("tool", "result 1"), ("tool", "result 2")],
    [("assistant", "first"), ("user", "second")],
    [("user", "one"), ("user", "two")],
    [("system", "s1"), ("user", "u"), ("system", "s2"), ("assistant", "\u3000caf\u00e9 \U0001f600\u3000")],
    [("critic", "who?")],
    [("user", "{{ 7 * 7 }} {% raise %} <|im_end|> \\n \"quotes\" \t")],
]


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    return env


def expected(env, case):
    """What Jinja makes of it: {"text"}, or {"error"}."""
    try:
        return {"text": env.from_string(case["template"]).render(
            messages=case["messages"], tools=None, documents=None, add_generation_prompt=case["add_generation_prompt"],
            bos_token=case["bos_token"], eos_token=case["eos_token"])}
    except jinja2.exceptions.TemplateSyntaxError as error:
        return {"error": "syntax", "message": str(error)}
    except Exception as error:  # whatever Python raises inside a template
        return {"error": type(error).__name__, "message": str(error)}


def cases(templates):
    for name, text in templates:
        for i, conversation in enumerate(CONVERSATIONS):
            messages = [{"role": role, "content": content} for role, content in conversation]
            yield {"name": f"{name} {i}", "template": text, "messages": messages, "add_generation_prompt": i % 3 != 2,
                   "bos_token": "<s>", "eos_token": "</s>"}
    for i, snippet in enumerate(SNIPPETS):
        # In a snippet, \n, \t and \r outside of tags stand for the characters.
        parts = [part if part.startswith("{") else part.replace("\\n", "\n").replace("\\t", "\t").replace("\\r", "\r")
                 for part in split_tags(snippet)]
        messages = [{"role": "user", "content": " Hi\n"}, {"role": "assistant", "content": "yo"}]
        yield {"name": f"snippet {i}", "template": "".join(parts), "messages": messages, "add_generation_prompt": True,
               "bos_token": "<s>", "eos_token": "</s>"}


def split_tags(text):
    import re
    return re.split(r"(\{[{%#].*?[}%#]\})", text)


def judge(ours, theirs):
    """"same", "refused" (an error of ours, named, where Jinja renders), or what is wrong."""
    if "text" in theirs and "text" in ours:
        return "same" if ours["text"] == theirs["text"] else "different text"
    if "text" in theirs:
        return "refused" if ours["error"] in ("CHAT_TEMPLATE_UNSUPPORTED", "CHAT_TEMPLATE_FAILED") else "wrong error"
    if "text" in ours:
        return "rendered what Jinja refuses"
    rejected = theirs["error"] == "TemplateError"
    if rejected != (ours["error"] == "CHAT_TEMPLATE_REJECTED") or (rejected and ours["message"] != theirs["message"]):
        return "wrong error"
    return "same"


def gguf_template(path):
    from gguf import GGUFReader
    return path.name, GGUFReader(path).fields["tokenizer.chat_template"].contents()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--gguf", nargs="*", default=[], type=pathlib.Path)
    parser.add_argument("--write-golden", type=pathlib.Path)
    args = parser.parse_args()
    env = environment()
    data = [(path.name, path.read_text()) for path in sorted(DATA.glob("*.jinja"))]
    if args.write_golden:
        files = {text: name for name, text in data}
        golden = [{**case, "expected": expected(env, case)} for case in cases(data)]
        for case in golden:  # data files by name
            if case["template"] in files:
                case["template_file"] = files[case.pop("template")]
        args.write_golden.write_text(json.dumps(golden, indent=1) + "\n")
    everything = list(cases(data + [gguf_template(path) for path in args.gguf]))
    done = subprocess.run([args.binary], input="".join(json.dumps(case) + "\n" for case in everything).encode(),
                          stdout=subprocess.PIPE, check=True)
    results = [json.loads(line) for line in done.stdout.decode().split("\n")[:-1]]
    counts = {}
    for case, ours in zip(everything, results):
        theirs = expected(env, case)
        verdict = judge(ours, theirs)
        counts[verdict] = counts.get(verdict, 0) + 1
        if verdict != "same":
            print(f"{case['name']}: {verdict}\n  template  {case['template'][:300]!r}\n  ours      {ours}\n  reference {theirs}")
    print(f"{len(everything)} renderings: {counts}")
    return 0 if len(results) == len(everything) and set(counts) <= {"same", "refused"} else 1


if __name__ == "__main__":
    sys.exit(main())
