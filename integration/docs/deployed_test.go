package docs

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// deployed is a Caddy that runs as a unit or an image would run it: its folders, their
// owners, the user and the environment are those, below a directory of the test's.
type deployed struct {
	*harness.Caddy
	root   string
	uid    int // of a user without privileges
	config string
}

// deploy lays out the folders of a deployment with a Caddyfile and its tenants. The
// Caddyfile's paths are moved below the root.
func deploy(t testing.TB, d deployment, file string, env ...string) *deployed {
	t.Helper()
	root := t.TempDir()
	s := &deployed{root: root, uid: os.Getuid(), Caddy: &harness.Caddy{T: t}}
	s.chmodParents(t)
	if s.uid == 0 {
		s.uid = 65534 // any user but root
		s.Attr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(s.uid), Gid: uint32(s.uid)}}
	}
	for _, dir := range []string{path.Dir(d.config), path.Dir(d.config) + "/tenants"} {
		s.mkdir(t, dir, 0o750, os.Getuid())
	}
	for _, dir := range d.state {
		s.mkdir(t, dir, 0o700, s.uid)
	}
	program, err := os.ReadFile(harness.Binary(t))
	if err != nil {
		t.Fatal(err)
	}
	s.mkdir(t, "/usr/local/bin", 0o755, os.Getuid())
	s.write(t, "/usr/local/bin/caddy-chat", program, 0o755)

	tenants, err := filepath.Glob(filepath.Join(filepath.Dir(file), "tenants", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range tenants {
		s.write(t, path.Dir(d.config)+"/tenants/"+filepath.Base(name), []byte(readText(t, name)), 0o640)
	}
	s.Program, s.Config, s.Dir = root+"/usr/local/bin/caddy-chat", root+d.config, root+d.home
	s.Env = slices.Concat(env, []string{"HOME=" + root + d.home, "XDG_DATA_HOME=", "XDG_CONFIG_HOME="})
	s.config = s.OnFreePorts(readText(t, file))
	for _, dir := range append([]string{path.Dir(d.config)}, d.state...) {
		s.config = strings.ReplaceAll(s.config, dir+"/", root+dir+"/")
	}
	return s
}

// chmodParents lets another user reach the root, whose parents are the test's.
func (s *deployed) chmodParents(t testing.TB) {
	t.Helper()
	for _, dir := range []string{s.root, filepath.Dir(s.root)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// mkdir makes a folder with the group of the user without privileges.
func (s *deployed) mkdir(t testing.TB, dir string, mode os.FileMode, owner int) {
	t.Helper()
	if err := os.MkdirAll(s.root+dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(s.root+dir, mode); err != nil {
		t.Fatal(err)
	}
	s.chown(t, dir, owner)
}

func (s *deployed) write(t testing.TB, file string, text []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(s.root+file, text, mode); err != nil {
		t.Fatal(err)
	}
	s.chown(t, file, os.Getuid())
}

func (s *deployed) chown(t testing.TB, file string, owner int) {
	t.Helper()
	if os.Getuid() != 0 {
		return // all is the user's own
	}
	if err := os.Chown(s.root+file, owner, s.uid); err != nil {
		t.Fatal(err)
	}
}

// edit replaces text that the Caddyfile has once.
func (s *deployed) edit(t testing.TB, old, replacement string) {
	t.Helper()
	if strings.Count(s.config, old) != 1 {
		t.Fatalf("want %q in the Caddyfile once:\n%s", old, s.config)
	}
	s.config = strings.Replace(s.config, old, replacement, 1)
}

// start writes the Caddyfile and runs it.
func (s *deployed) start(t testing.TB) {
	t.Helper()
	s.write(t, strings.TrimPrefix(s.Config, s.root), []byte(s.config), 0o640)
	s.Run()
}

// healthy runs the health check.
func (s *deployed) healthy(t testing.TB, args ...string) error {
	t.Helper()
	out, err := s.Command(t.Context(), append([]string{"chat-health"}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// wantEnd stops the server, which must end by itself and without an error.
func (s *deployed) wantEnd(t testing.TB) {
	t.Helper()
	s.Stop()
	if s.Err != nil {
		t.Errorf("it ended with %v", s.Err)
	}
}

// lowPort returns a free port that only a privileged process may bind, and whether
// there is such a port on this machine.
func lowPort() (port int, ok bool) {
	first, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err != nil {
		return 0, false
	}
	end, _ := strconv.Atoi(strings.TrimSpace(string(first)))
	for port = min(end, 1024) - 1; port > 600; port-- {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			l.Close()
			return port, true
		}
	}
	return 0, false
}

// TestProductionAsService runs the production example as the unit does.
func TestProductionAsService(t *testing.T) {
	model := newModelServer(t)
	service := readUnit(t)
	d := service.deployment(t)
	s := deploy(t, d, harness.CaddyfileOf(t, "production"), harness.ExampleEnv...)
	httpsPort, metricsPort := harness.FreePort(t), harness.FreePort(t)
	if port, ok := lowPort(); ok && os.Getuid() == 0 && service.only(t, "AmbientCapabilities") == "CAP_NET_BIND_SERVICE" {
		const netBindService = 10
		s.Attr.AmbientCaps = []uintptr{netBindService}
		httpsPort = port
	}
	s.edit(t, "provider openai {", "provider openai {\n base_url "+model.URL)
	s.edit(t, "chat.example.com {", fmt.Sprintf("chat.example.com:%d {", httpsPort))
	s.edit(t, ":9180 {", fmt.Sprintf(":%d {", metricsPort))
	s.start(t)

	acme := harness.NewClient(s.Caddy, "", "ann")
	acme.URL, acme.Key = "https://chat.example.com", "acme-key"
	acme.HTTP = trusting(t, s.Dir+"/.local/share/caddy", httpsPort)
	wantAnswer(t, acme)

	health := fmt.Sprintf("https://chat.example.com:%d/health", httpsPort)
	if err := s.healthy(t, "--url", health); err != nil {
		t.Error(err)
	}
	s.Reload()
	acme.HTTP.CloseIdleConnections() // as Reload does for those of the other tests
	wantAnswer(t, acme)

	info, err := os.Stat(s.root + "/var/lib/caddy/chat")
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; int(owner) != s.uid || info.Mode().Perm() != 0o700 {
		t.Errorf("the store is user %d's, with mode %v", owner, info.Mode())
	}
	s.wantEnd(t)
	if err := s.healthy(t, "--url", health); err == nil {
		t.Error("it is healthy after its end")
	}
}

// TestImageServes runs the image's own Caddyfile as the image does.
func TestImageServes(t *testing.T) {
	image, before := readImage(t)
	d := imageDeployment(t, image, before)
	s := deploy(t, d, filepath.Join(buildDir, "Caddyfile"))
	port := harness.FreePort(t)
	s.edit(t, "\n:80 {", fmt.Sprintf("\n:%d {", port))
	s.URL = fmt.Sprintf("http://127.0.0.1:%d", port)
	for _, env := range argsOf(image, "ENV") {
		if url, ok := strings.CutPrefix(env, "CHAT_HEALTH_URL="); ok {
			s.Env = append(s.Env, "CHAT_HEALTH_URL="+strings.Replace(url, "localhost/", fmt.Sprintf("localhost:%d/", port), 1))
		}
	}
	s.start(t)
	if err := s.healthy(t); err != nil {
		t.Error(err)
	}
	cl := harness.NewClient(s.Caddy, "", "ann")
	if a := cl.Say(harness.NewSession(), "one two"); a.Text != "one two" {
		t.Errorf("got %q", a.Text)
	}
	resp := cl.Do(http.MethodPost, "/v1/chat/completions", `{"messages":[{"role":"user","content":"one two"}]}`)
	if text := harness.ReadAll(t, resp); !strings.Contains(text, "one two") {
		t.Errorf("got %s", text)
	}
	for _, tt := range []struct{ path, want string }{
		{"/elsewhere", `answers 404 Not Found: want 200`},
		{"/v1/models", ""}, // the tenant default has no key
	} {
		err := s.healthy(t, "--url", s.URL+tt.path)
		if got := fmt.Sprint(err); (err == nil) != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %v, want %q", tt.path, err, tt.want)
		}
	}
	s.wantEnd(t)
	if err := s.healthy(t); err == nil {
		t.Error("it is healthy after its end")
	}
}

// TestHealthRedirect checks that a health check over HTTP names the URL to ask
// if the site is served over HTTPS only.
func TestHealthRedirect(t *testing.T) {
	c := harness.Start(t, "", "redir https://chat.example.com{uri} 308")
	out, err := c.Command(t.Context(), "chat-health", "--url", c.URL+"/health").CombinedOutput()
	if err == nil || !regexp.MustCompile(`redirects to https://chat\.example\.com/health: want that URL in --url or CHAT_HEALTH_URL`).Match(out) {
		t.Errorf("%v: %s", err, out)
	}
}
