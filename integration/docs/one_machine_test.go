package docs

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// TestClusterOnOneMachine runs the commands at the head of the example, on free ports and
// with another model server, and has a conversation that outlives a node.
func TestClusterOnOneMachine(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Fatal("redis-server is not installed: apt-get install redis-server")
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(harness.ExamplesDir, "cluster"))); err != nil {
		t.Fatal(err)
	}
	site, redis := fmt.Sprint(harness.FreePort(t)), fmt.Sprint(harness.FreePort(t))
	var nodes, admins []string
	for range 2 {
		nodes, admins = append(nodes, fmt.Sprint(harness.FreePort(t))), append(admins, fmt.Sprint(harness.FreePort(t)))
	}
	edit(t, filepath.Join(dir, "Caddyfile"), "provider openai {", "provider openai {\nbase_url "+newModelServer(t).URL)
	edit(t, filepath.Join(dir, "front", "Caddyfile"), "\n:8080 {", "\n:"+site+" {")
	commands := strings.NewReplacer("6379", redis, "8081", nodes[0], "8082", nodes[1], "2021", admins[0], "2022", admins[1]).
		Replace(commandsOf(t, filepath.Join(harness.ExamplesDir, "cluster", "Caddyfile")))

	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(harness.Binary(t), filepath.Join(bin, "caddy")); err != nil {
		t.Fatal(err)
	}
	log := new(harness.LogBuffer)
	shell := exec.Command("bash", "-c", commands)
	shell.Dir, shell.Stdout, shell.Stderr = dir, log, log
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	shell.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir,
		"OPENAI_API_KEY=sk-the-providers", fmt.Sprintf("CADDY_ADMIN=127.0.0.1:%d", harness.FreePort(t)))
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-shell.Process.Pid, syscall.SIGKILL) // the shell and what it has started
		_ = shell.Wait()
		if t.Failed() {
			t.Logf("the commands\n%s\nprinted\n%s", commands, log)
		}
	})
	serves := func(port string) func() bool {
		return func() bool {
			resp, err := http.Get("http://127.0.0.1:" + port + "/health")
			if err != nil {
				return false
			}
			resp.Body.Close()
			return resp.StatusCode == http.StatusOK
		}
	}
	for _, port := range append(nodes, site) {
		harness.Eventually(t, "port "+port+" serves", serves(port))
	}
	acme := harness.NewClient(&harness.Caddy{T: t, URL: "http://127.0.0.1:" + site}, "", "ann")
	acme.Key = "acme-key"
	wantAnswer(t, acme)
	session := harness.NewSession()
	acme.Say(session, "hi")
	resp, err := http.Post("http://127.0.0.1:"+admins[0]+"/stop", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	harness.Eventually(t, "the first node is gone", func() bool { return !serves(nodes[0])() })
	if a := acme.Say(session, "hi"); a.Text != "Hello from afar" || len(acme.History(session)) != 4 {
		t.Errorf("without the first node: %q, %d messages stored", a.Text, len(acme.History(session)))
	}
}

// edit replaces a text that is once in a file.
func edit(t testing.TB, file, from, to string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(b), from) != 1 {
		t.Fatalf("%s: want %q in it once", file, from)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(b), from, to, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// commandsOf returns the commands among the comments at the head of a file: the indented
// lines from "To try it" on.
func commandsOf(t testing.TB, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, head, found := strings.Cut(string(b), "# To try it")
	var list []string
	for line := range strings.Lines(head) {
		if !strings.HasPrefix(line, "#") && len(list) > 0 {
			break
		}
		if command, ok := strings.CutPrefix(line, "#\t"); ok {
			list = append(list, command)
		}
	}
	if !found || len(list) == 0 {
		t.Fatalf("%s has no commands", file)
	}
	return strings.Join(list, "")
}
