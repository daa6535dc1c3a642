package docs

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// codeBlock is a fenced block of Markdown: its language, and its text.
var codeBlock = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")

// readmeAnswers are what the README's shell blocks with curl must print, in order.
var readmeAnswers = [][]string{
	{`"content":"Hello"`, `"content":" there"`, `"finishReason":"stop"`, `"messages":[`, `"status":"complete"`, `"code":"session_not_found"`},
	{"HTTP/1.1 200 OK", "X-Ratelimit-Remaining: 29", `"object":"chat.completion"`, `"content":"Hello out there"`},
}

func TestReadme(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	sites := 0
	for _, block := range codeBlock.FindAllStringSubmatch(string(text), -1) {
		switch language, code := block[1], block[2]; {
		case language == "caddyfile":
			sites++
			t.Run("a_Caddyfile_adapts", func(t *testing.T) { adaptBlock(t, code) })
		case language == "sh" && strings.Contains(code, "curl"):
			commands = append(commands, code)
		}
	}
	if sites == 0 {
		t.Error("the README has no Caddyfile")
	}
	t.Run("its_commands_work", func(t *testing.T) { runReadme(t, commands) })
}

// TestLinks checks the links of the pages outside docs/.
func TestLinks(t *testing.T) {
	for _, file := range []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "xcaddy-build/README.md"} {
		p := readPage(t, filepath.Join("../..", file))
		checkLinks(t, p)
		if file == "README.md" && len(linkPattern.FindAllString(p.text, -1)) == 0 {
			t.Error("the README has no links")
		}
	}
}

func adaptBlock(t testing.TB, code string) {
	c := &harness.Caddy{T: t, Dir: t.TempDir(), Env: harness.ExampleEnv}
	if err := os.WriteFile(filepath.Join(c.Dir, "Caddyfile"), []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"fmt", "--diff", "Caddyfile"},
		{"adapt", "--validate", "--config", "Caddyfile"},
	} {
		if out, err := c.Command(t.Context(), args...).CombinedOutput(); err != nil {
			t.Errorf("caddy %s: %v\n%s", args[0], err, out)
		}
	}
}

// runReadme pastes the commands into a shell, one block after the other.
func runReadme(t testing.TB, commands []string) {
	if len(commands) != len(readmeAnswers) {
		t.Fatalf("%d blocks with curl, answers for %d", len(commands), len(readmeAnswers))
	}
	c := harness.StartExample(t, "quickstart")
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	for i, code := range commands {
		script := strings.ReplaceAll(code, "localhost:8080", strings.TrimPrefix(c.URL, "http://"))
		if script == code {
			t.Errorf("no localhost:8080 in\n%s", code)
			continue
		}
		out, err := exec.CommandContext(ctx, "sh", "-euc", script).Output()
		if err != nil {
			t.Errorf("%v\n%s", err, script)
		}
		rest := string(out)
		for _, want := range readmeAnswers[i] {
			_, after, ok := strings.Cut(rest, want)
			if !ok {
				t.Errorf("want %s in the answer to\n%s\ngot\n%s", want, script, out)
				break
			}
			rest = after
		}
	}
}
