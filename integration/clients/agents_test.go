package clients

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
	"github.com/caddy-chat/caddy-chat/modules/provider/providertest"
)

// agentsVariable names the folder with the agents' packages, which are too large for
// every run of the tests: make agents sets it.
const agentsVariable = "CADDY_CHAT_AGENTS"

// agent is a coding agent.
type agent struct {
	name      string
	binary    string                       // pattern of its path among the packages
	model     string                       // which Codex knows, or not: its tools depend on it
	responses bool                         // it asks by this API
	calls     func(dir string) []agentCall // the last one writes toolResult to weather.txt in dir
	finds     string                       // a tool that it offers once it has been searched for
	run       func(a *agentRun) []string
}

const codexBinary = "@openai/codex-*/vendor/*/bin/codex"

var agents = []agent{
	{
		name:      "codex",
		binary:    codexBinary,
		model:     "fast",
		responses: true,
		calls: func(string) []agentCall {
			return []agentCall{functionCall("exec_command", map[string]any{"cmd": "echo '" + toolResult + "' >weather.txt"})}
		},
		run: codex,
	},
	{
		name:      "codex-patch",
		binary:    codexBinary,
		model:     "gpt-5.5",
		responses: true,
		calls: func(string) []agentCall {
			return []agentCall{
				{item: "tool_search_call", tool: "tool_search", input: `{"query":"spawn agent"}`},
				{item: "custom_tool_call", tool: "apply_patch", input: "*** Begin Patch\n*** Add File: weather.txt\n+" + toolResult + "\n*** End Patch\n"},
			}
		},
		finds: "spawn_agent",
		run:   codex,
	},
	{
		name:      "codex-script",
		binary:    codexBinary,
		model:     "gpt-6.2-sol",
		responses: true,
		calls: func(string) []agentCall {
			return []agentCall{{
				item: "custom_tool_call", tool: "exec", namespace: "functions",
				input: `text(await tools.exec_command({cmd: "echo '` + toolResult + `' >weather.txt"}));`,
			}}
		},
		run: codex,
	},
	{
		name:   "claude-code",
		binary: "@anthropic-ai/claude-code-*/claude",
		model:  "fast",
		calls: func(dir string) []agentCall {
			return []agentCall{functionCall("Write", map[string]any{"file_path": filepath.Join(dir, "weather.txt"), "content": toolResult})}
		},
		run: claudeCode,
	},
	{
		name:   "opencode",
		binary: "opencode-linux-*/bin/opencode",
		model:  "fast",
		calls: func(dir string) []agentCall {
			return []agentCall{functionCall("write", map[string]any{"filePath": filepath.Join(dir, "weather.txt"), "content": toolResult})}
		},
		run: opencode,
	},
	{
		name:   "continue",
		binary: ".bin/cn",
		model:  "fast",
		calls: func(dir string) []agentCall {
			return []agentCall{functionCall("Write", map[string]any{"filepath": filepath.Join(dir, "weather.txt"), "content": toolResult})}
		},
		run: continueCLI,
	},
}

// agentRun is one run of an agent, in a folder of its own.
type agentRun struct {
	t                  *testing.T
	binary, home, work string
	url, model         string
}

const agentTask = "Write the weather to weather.txt."

// settings returns what docs/clients.md says to type for a client.
func (a *agentRun) settings(client string) string {
	a.t.Helper()
	found := harness.Found(a.t, "docs/clients.md", "(?s)\n## "+client+"\n.*?\n```[a-z]+\n(.*?)```")
	if len(found) != 1 {
		a.t.Fatalf("docs/clients.md has %d blocks of %s", len(found), client)
	}
	return strings.NewReplacer("https://chat.example.com", a.url, `"fast"`, `"`+a.model+`"`).Replace(found[0])
}

func (a *agentRun) write(file, text string) {
	a.t.Helper()
	err := os.MkdirAll(filepath.Dir(file), 0o700)
	if err == nil {
		err = os.WriteFile(file, []byte(text), 0o600)
	}
	if err != nil {
		a.t.Fatal(err)
	}
}

// codex ends at the first failure, and does not wait for its makers at the end.
func codex(a *agentRun) []string {
	a.write(filepath.Join(a.home, ".codex/config.toml"), a.settings("Codex")+`
request_max_retries = 0
stream_max_retries = 0

[analytics]
enabled = false
`)
	return []string{a.binary, "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", agentTask}
}

func claudeCode(a *agentRun) []string {
	return []string{"sh", "-c", a.settings("Claude Code") + `exec "$@"`, "sh", a.binary, "-p", agentTask, "--allowedTools", "Write"}
}

func opencode(a *agentRun) []string {
	a.write(filepath.Join(a.work, "opencode.json"), a.settings("opencode"))
	return []string{a.binary, "run", agentTask}
}

func continueCLI(a *agentRun) []string {
	a.write(filepath.Join(a.home, ".continue/config.yaml"), a.settings("Continue"))
	return []string{a.binary, "-p", "--auto", agentTask}
}

// runsBefore returns the providers that an agent is run before.
func (a agent) runsBefore() []clientProvider {
	var list []clientProvider
	for _, p := range append([]clientProvider{nativeResponses}, clientProviders...) {
		if agentStreams[p.name] != nil && (a.responses || p.name != nativeResponses.name) {
			list = append(list, p)
		}
	}
	return list
}

// agentSite has a gateway for each agent and provider. All of them may then ask for
// models of the same name. chat_session is in front, since it reads what they send, too.
func agentSite(t *testing.T, up *replays) string {
	var b strings.Builder
	b.WriteString("tenant_resolve\nchat_ratelimit {\nrequests 100000 1m\n}\n")
	b.WriteString(strings.Join(harness.Found(t, "docs/clients.md", `(?m)^\t(.*@opencode .*)$`), "\n"))
	for _, a := range agents {
		for _, p := range a.runsBefore() {
			fmt.Fprintf(&b, `
	handle_path /%[1]s/%[2]s/* {
		chat_session
		ai_gateway {
			provider %[2]s %[3]s {
				api_key upstream-key
				%[4]s
			}
			model %[5]s {
				to %[2]s/%[2]s.%[1]s
			}
			retries 0
			rescue off
		}
	}
`, a.name, p.name, p.typ, fmt.Sprintf(p.block, up.up.Origin()), a.model)
		}
	}
	return b.String()
}

// TestAgents gives agents a task: a call of a tool, whose result goes back, and the end.
func TestAgents(t *testing.T) {
	packages := os.Getenv(agentsVariable)
	if packages == "" {
		t.Skip("make agents runs them")
	}
	up := newReplays(t)
	c := harness.Start(t, clientTenants(), agentSite(t, up))
	for _, a := range agents {
		found, err := filepath.Glob(filepath.Join(packages, a.binary))
		if len(found) == 0 && runtime.GOARCH != "amd64" {
			t.Logf("%s is not among the packages for %s", a.name, runtime.GOARCH)
			continue
		}
		if err != nil || len(found) != 1 {
			t.Fatalf("%s has the programs %q, %v", a.name, found, err)
		}
		for _, p := range a.runsBefore() {
			t.Run(a.name+"/"+p.name, func(t *testing.T) {
				t.Parallel()
				a.test(t, up, p, found[0], c.URL)
			})
		}
	}
}

func (a agent) test(t *testing.T, up *replays, p clientProvider, binary, url string) {
	run := &agentRun{t, binary, t.TempDir(), t.TempDir(), url + "/" + a.name + "/" + p.name, a.model}
	calls := a.calls(run.work)
	called, said := agentStreams[p.name](calls, "It is warm.")
	b := caseBuilder{t: t, up: up, provider: p}
	_, play := b.stage(a.name, called, providertest.Whole)
	play.thenPlay(said)
	play.tool = calls[len(calls)-1].tool

	ctx, cancel := context.WithTimeout(t.Context(), 2*harness.Patience)
	defer cancel()
	command := a.run(run)
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir = run.work
	cmd.Env = []string{"ACME_KEY=acme-client-key", "HOME=" + run.home, "PATH=" + os.Getenv("PATH")}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || !strings.Contains(string(out), "It is warm.") {
		t.Errorf("it printed %q, %v\n%s", out, err, &stderr)
	}
	if got, err := os.ReadFile(filepath.Join(run.work, "weather.txt")); strings.TrimSpace(string(got)) != toolResult {
		t.Errorf("it wrote %q, %v", got, err)
	}
	a.wantAsked(t, p, play)
}

// wantAsked checks what the model was asked: for the calls, and once more with their results.
func (a agent) wantAsked(t *testing.T, p clientProvider, play *play) {
	t.Helper()
	asked, first := play.first.Requests()
	if len(asked) != 1 {
		t.Errorf("the model was asked for %d calls", len(asked))
	}
	var told [][]byte
	_, then := play.then.Requests()
	for _, body := range then {
		if bytes.Contains(body, []byte(toolResult)) {
			told = append(told, body)
		}
	}
	if len(told) != 1 {
		t.Errorf("the model got %d results", len(told))
	}
	for _, body := range told {
		if a.finds != "" && !bytes.Contains(body, []byte(`"name":"`+a.finds+`"`)) {
			t.Errorf("the model was not offered %s: %s", a.finds, body)
		}
	}
	if p.name != nativeResponses.name {
		return
	}
	for _, body := range append(first, told...) {
		w := httptest.NewRecorder()
		providertest.StrictResponses(w, httptest.NewRequest(http.MethodPost, "/v1/responses", bytes.NewReader(body)))
		if w.Code != http.StatusOK {
			t.Errorf("OpenAI refuses it: %s", w.Body)
		}
	}
}
