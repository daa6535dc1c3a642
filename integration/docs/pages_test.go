package docs

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// docsDir holds the pages. docs/README.md says how their blocks are marked.
const docsDir = "../../docs"

// block is one fenced block of a page.
type block struct {
	info string // the text after the opening fence
	line int    // of the opening fence
	text string
}

// page is one page of the documentation.
type page struct {
	name   string // relative to docsDir
	text   string
	blocks []block
}

func readPage(t testing.TB, file string) page {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	name, err := filepath.Rel(docsDir, file)
	if err != nil {
		t.Fatal(err)
	}
	p := page{name: filepath.ToSlash(name), text: string(data)}
	var open *block
	for i, line := range strings.SplitAfter(p.text, "\n") {
		info, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && open == nil:
			open = &block{info: strings.TrimSpace(info), line: i + 1}
		case fence:
			p.blocks = append(p.blocks, *open)
			open = nil
		case open != nil:
			open.text += line
		}
	}
	if open != nil {
		t.Fatalf("%s:%d: this block does not end", p.name, open.line)
	}
	return p
}

func readPages(t testing.TB) []page {
	t.Helper()
	var pages []page
	for _, pattern := range []string{"*.md", "*/*.md"} {
		files, err := filepath.Glob(filepath.Join(docsDir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			pages = append(pages, readPage(t, file))
		}
	}
	if len(pages) == 0 {
		t.Fatal("no pages")
	}
	return pages
}

// with returns the blocks with this info string.
func (p page) with(info string) []block {
	var list []block
	for _, b := range p.blocks {
		if b.info == info {
			list = append(list, b)
		}
	}
	return list
}

func TestDocs(t *testing.T) {
	for _, p := range readPages(t) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			t.Run("links", func(t *testing.T) { checkLinks(t, p) })
			t.Run("blocks", func(t *testing.T) { checkBlocks(t, p) })
			if len(p.with("console")) > 0 {
				t.Run("commands", func(t *testing.T) { runCommands(t, p) })
			}
		})
	}
}

// checkBlocks adapts and validates every Caddyfile, compares it with the JSON
// shown as its equivalent, and refuses unknown kinds of blocks.
func checkBlocks(t testing.TB, p page) {
	dir := t.TempDir()
	writeTenants(t, p, dir)
	adapted := ""
	for _, b := range p.blocks {
		switch b.info {
		case "caddyfile":
			adapted = adaptPage(t, p, b, dir)
		case "json adapted":
			var shown, whole any
			if err := json.Unmarshal([]byte(b.text), &shown); err != nil {
				t.Fatalf("%s:%d: %v", p.name, b.line, err)
			}
			if err := json.Unmarshal([]byte(adapted), &whole); err != nil || !holds(whole, shown) {
				t.Errorf("%s:%d: this is not what the Caddyfile above it adapts to (%v):\n%s", p.name, b.line, err, adapted)
			}
		case "json", "json tenant":
			if !json.Valid([]byte(b.text)) {
				t.Errorf("%s:%d: not JSON", p.name, b.line)
			}
		case "sh":
			if out, err := exec.CommandContext(t.Context(), "bash", "-n", "-c", b.text).CombinedOutput(); err != nil {
				t.Errorf("%s:%d: %v\n%s", p.name, b.line, err, out)
			}
		case "console", "text", "go", "js", "python", "toml", "yaml":
		default:
			t.Errorf("%s:%d: unknown kind of block %q", p.name, b.line, b.info)
		}
	}
}

var envPattern = regexp.MustCompile(`\{env\.(\w+)\}`)

// docsEnv sets every environment variable that a page uses to a value that fits
// any secret: 64 hex digits, different for each name.
func docsEnv(text string) []string {
	var env []string
	for i, m := range envPattern.FindAllStringSubmatch(text, -1) {
		env = append(env, fmt.Sprintf("%s=%064x", m[1], i+1))
	}
	return env
}

func adaptPage(t testing.TB, p page, b block, dir string) string {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(b.text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &harness.Caddy{T: t, Dir: dir, Env: docsEnv(p.text)}
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	cmd := c.Command(ctx, "adapt", "--config", "Caddyfile", "--validate")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%s:%d: %v\n%s", p.name, b.line, err, &stderr)
	}
	if strings.Contains(stderr.String(), "not formatted") {
		t.Errorf("%s:%d: not formatted with caddy fmt", p.name, b.line)
	}
	return string(out)
}

// writeTenants writes a page's tenant files to where its Caddyfiles expect them.
func writeTenants(t testing.TB, p page, dir string) {
	t.Helper()
	dir = filepath.Join(dir, "tenants")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, b := range p.with("json tenant") {
		name := fmt.Sprintf("%d.json", b.line)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(b.text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// holds reports whether whole contains part.
func holds(whole, part any) bool {
	if reflect.DeepEqual(whole, part) {
		return true
	}
	switch w := whole.(type) {
	case map[string]any:
		for _, v := range w {
			if holds(v, part) {
				return true
			}
		}
	case []any:
		for _, v := range w {
			if holds(v, part) {
				return true
			}
		}
	}
	return false
}

// shownCommand is a command of a page and its shown output.
type shownCommand struct {
	line   int
	text   string
	output string
}

// commands reads the console blocks. "$ " begins a command, a backslash continues
// it, and its output follows.
func (p page) commands() []shownCommand {
	var list []shownCommand
	for _, b := range p.with("console") {
		more := false
		for i, line := range strings.Split(strings.TrimRight(b.text, "\n"), "\n") {
			text, begins := strings.CutPrefix(line, "$ ")
			switch last := len(list) - 1; {
			case more:
				list[last].text += "\n" + line
			case begins:
				list = append(list, shownCommand{line: b.line + 1 + i, text: text})
			case last >= 0:
				list[last].output += line + "\n"
				continue
			}
			more = strings.HasSuffix(line, `\`)
		}
	}
	return list
}

// The addresses that the pages use.
const (
	docsSite  = "localhost:8080"
	docsAdmin = "localhost:2019"
)

// runCommands runs a page's commands in order, in one shell, against the
// server of the page's first Caddyfile.
func runCommands(t testing.TB, p page) {
	configs := p.with("caddyfile")
	if len(configs) == 0 {
		t.Fatalf("%s: commands, but no Caddyfile to run them against", p.name)
	}
	dir := t.TempDir()
	writeTenants(t, p, dir)
	c := serveDocs(t, dir, configs[0].text, docsEnv(p.text)...)
	site, admin := strings.TrimPrefix(c.URL, "http://"), strings.TrimPrefix(c.Admin, "http://")

	commands := p.commands()
	var script strings.Builder
	for _, cmd := range commands {
		fmt.Fprintf(&script, "%s\nprintf '\\036%%d\\036' $?\n", cmd.text)
	}
	text := strings.NewReplacer(docsSite, site, docsAdmin, admin).Replace(script.String())
	printed := strings.NewReplacer(site, docsSite, admin, docsAdmin, "\r", "").Replace(shell(c, text))

	parts := strings.Split(printed, "\x1e")
	for i, cmd := range commands {
		if 2*i+1 >= len(parts) {
			t.Fatalf("%s:%d: the shell ended before this command:\n%s", p.name, cmd.line, printed)
		}
		output, status := parts[2*i], parts[2*i+1]
		if status != "0" {
			t.Errorf("%s:%d: exit status %s:\n%s", p.name, cmd.line, status, output)
		}
		if cmd.output != "" && !shows(cmd.output, output) {
			t.Errorf("%s:%d: %s\nshown:\n%s\nprinted:\n%s", p.name, cmd.line, cmd.text, cmd.output, output)
		}
	}
}

// serveDocs runs a page's Caddyfile on free ports of the loopback interface.
func serveDocs(t testing.TB, dir, config string, env ...string) *harness.Caddy {
	t.Helper()
	c := &harness.Caddy{
		T:     t,
		Dir:   dir,
		URL:   fmt.Sprintf("http://127.0.0.1:%d", harness.FreePort(t)),
		Admin: fmt.Sprintf("http://127.0.0.1:%d", harness.FreePort(t)),
		Env:   env,
	}
	options := fmt.Sprintf("{\n\tadmin %s\n\tdefault_bind 127.0.0.1\n", strings.TrimPrefix(c.Admin, "http://"))
	if rest, ok := strings.CutPrefix(config, "{\n"); ok {
		config = options + rest
	} else {
		config = options + "}\n" + config
	}
	config = strings.ReplaceAll(config, ":8080", strings.TrimPrefix(c.URL, "http://127.0.0.1"))
	if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Run()
	return c
}

// shell runs a script in the server's directory and returns its output.
func shell(c *harness.Caddy, script string) string {
	c.T.Helper()
	ctx, cancel := context.WithTimeout(c.T.Context(), 2*harness.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir = c.Dir
	cmd.Env = append(append(os.Environ(), c.Env...), "HOME="+c.Dir, "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.T.Errorf("shell: %v\n%s", err, out)
	}
	return string(out)
}

// shows compares what a page shows with what was printed. An ellipsis stands for
// any text within its line, or alone on a line for any lines.
func shows(shown, printed string) bool {
	var re strings.Builder
	for line := range strings.Lines(strings.TrimSpace(shown)) {
		line = strings.TrimSpace(line)
		if line == "…" {
			re.WriteString(`(?:.*\n)*`)
			continue
		}
		re.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), "…", `.*`) + `[ \t]*\n`)
	}
	return regexp.MustCompile("^" + re.String() + "$").MatchString(strings.TrimSpace(printed) + "\n")
}

var (
	linkPattern    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	headingPattern = regexp.MustCompile(`(?m)^#+ (.+)$`)
)

// checkLinks checks that the relative links of a page, and their headings, exist.
func checkLinks(t testing.TB, p page) {
	for _, m := range linkPattern.FindAllStringSubmatch(p.text, -1) {
		target, anchor, _ := strings.Cut(m[1], "#")
		if strings.Contains(target, "://") {
			continue
		}
		file := filepath.Join(docsDir, p.name)
		if target != "" {
			file = filepath.Join(filepath.Dir(file), filepath.FromSlash(target))
		}
		if _, err := os.Stat(file); err != nil {
			t.Errorf("%s: link %s: %v", p.name, m[1], err)
			continue
		}
		if anchor != "" && !hasHeading(t, file, anchor) {
			t.Errorf("%s: link %s: no such heading", p.name, m[1])
		}
	}
}

func hasHeading(t testing.TB, file, anchor string) bool {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range headingPattern.FindAllStringSubmatch(string(data), -1) {
		slug := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1])
		if slug == anchor {
			return true
		}
	}
	return false
}
