import { renderMarkdown } from '../../src/site/markdown';

const published = (href: string) => (href.startsWith('secret') ? undefined : `to/${href}`);
const render = (...lines: string[]) => renderMarkdown(lines.join('\n'), published);

test('HTML in Markdown stays text', () =>
  expect(render('a <b onclick="x">b</b> <script>1</script>').content.html).toBe(
    '<p>a &lt;b onclick=&quot;x&quot;&gt;b&lt;/b&gt; &lt;script&gt;1&lt;/script&gt;</p>\n',
  ));

test('an address that is a script is no link', () =>
  expect(render('[a](javascript:alert(1))').content.html).toBe('<p>[a](javascript:alert(1))</p>\n'));

test('a link leads where it is told to, and is its text where that is nowhere', () =>
  expect(render('[a](b) [`c`](secret/d) [e](f)').content.html).toBe(
    '<p><a href="to/b">a</a> <code>c</code> <a href="to/f">e</a></p>\n',
  ));

test('headings have the anchors of GitHub, each another', () => {
  const { title, headings, content } = render('# A `b`: c_d!', '', '## Same', '', '## Same');
  expect(title).toBe('A b: c_d!');
  expect(headings.map(({ id }) => id)).toEqual(['a-b-c_d', 'same', 'same-1']);
  expect(content.html).toContain('<h2 id="same-1">Same</h2>');
});

test('a block of code can be reached with the keyboard', () =>
  expect(render('```sh', 'a < "b"', '```').content.html).toBe(
    '<pre tabindex="0"><code>a &lt; &quot;b&quot;\n</code></pre>\n',
  ));

test('each cell of a table names its column', () => {
  const { html } = render('| a `b` | c |', '|---|---|', '| 1 | 2 |', '', '| d |', '|---|', '| 3 |').content;
  expect([...html.matchAll(/data-label="([^"]*)">(\d)/g)].map(([, label, cell]) => [cell, label])).toEqual([
    ['1', 'a b'],
    ['2', 'c'],
    ['3', 'd'],
  ]);
});
