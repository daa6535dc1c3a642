package docs

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

const buildDir = "../../xcaddy-build"

// deployment is where a unit or an image has what a Caddyfile needs.
type deployment struct {
	config string   // the Caddyfile
	home   string   // HOME
	state  []string // the folders that it may write to
	user   string
}

// unit holds the settings of a systemd unit, by name; some may be set several times.
type unit map[string][]string

func readUnit(t testing.TB) unit {
	t.Helper()
	u := make(unit)
	for line := range strings.Lines(readText(t, filepath.Join(buildDir, "caddy-chat.service"))) {
		line = strings.ReplaceAll(strings.TrimSpace(line), "%S", "/var/lib")
		if name, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			u[name] = append(u[name], value)
		}
	}
	return u
}

// only returns a setting that the unit has once.
func (u unit) only(t testing.TB, name string) string {
	t.Helper()
	if len(u[name]) != 1 {
		t.Fatalf("the unit has %d %s", len(u[name]), name)
	}
	return u[name][0]
}

func (u unit) deployment(t testing.TB) deployment {
	t.Helper()
	d := deployment{config: configOf(t, u.only(t, "ExecStart")), user: u.only(t, "User")}
	if reloaded := configOf(t, u.only(t, "ExecReload")); reloaded != d.config {
		t.Errorf("ExecStart has %s and ExecReload %s", d.config, reloaded)
	}
	for _, name := range u["StateDirectory"] {
		d.state = append(d.state, "/var/lib/"+name)
	}
	for _, env := range u["Environment"] {
		if home, ok := strings.CutPrefix(env, "HOME="); ok {
			d.home = home
		}
	}
	return d
}

// instruction is one of a Dockerfile, such as COPY, with the rest of its lines.
type instruction struct{ name, args string }

// readImage returns the instructions of the image's last stage, and everything of the
// stages before.
func readImage(t testing.TB) (last []instruction, before string) {
	t.Helper()
	text := readText(t, filepath.Join(buildDir, "Dockerfile"))
	text = regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(text, "")
	text = strings.ReplaceAll(text, "\\\n", " ")
	at := strings.LastIndex(text, "\nFROM ")
	for line := range strings.Lines(text[at+1:]) {
		if name, args, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			last = append(last, instruction{name, args})
		}
	}
	return last, text[:at]
}

// argsOf returns the arguments of all instructions of a name.
func argsOf(list []instruction, name string) []string {
	var args []string
	for _, i := range list {
		if i.name == name {
			args = append(args, i.args)
		}
	}
	return args
}

// commandOf returns a command in JSON, that of the last instruction of a name.
func commandOf(t testing.TB, list []instruction, name string) []string {
	t.Helper()
	var command []string
	args := argsOf(list, name)
	if len(args) == 0 {
		t.Fatalf("the image has no %s", name)
	}
	_, text, _ := strings.Cut(args[len(args)-1], "[")
	if err := json.Unmarshal([]byte("["+text), &command); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return command
}

func imageDeployment(t testing.TB, list []instruction, before string) deployment {
	t.Helper()
	d := deployment{config: configOf(t, strings.Join(commandOf(t, list, "CMD"), " "))}
	for _, env := range argsOf(list, "ENV") {
		if home, ok := strings.CutPrefix(env, "HOME="); ok {
			d.home = home
		}
	}
	for _, dirs := range argsOf(list, "VOLUME") {
		d.state = append(d.state, strings.Fields(dirs)...)
	}
	for _, user := range argsOf(list, "USER") {
		found := regexp.MustCompile(`'(\w+):x:` + user + `:`).FindStringSubmatch(before)
		if found == nil {
			t.Fatalf("no user in passwd is %s", user)
		}
		d.user = found[1]
	}
	return d
}

var configOption = regexp.MustCompile(`--config (\S+)`)

func configOf(t testing.TB, command string) string {
	t.Helper()
	found := configOption.FindStringSubmatch(command)
	if found == nil {
		t.Fatalf("no --config in %s", command)
	}
	return found[1]
}

func readText(t testing.TB, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// needs is what an adapted Caddyfile asks of its surroundings.
type needs struct {
	Apps struct {
		Chat struct {
			Store   struct{ Path string }
			Tenants []string
		}
		HTTP struct {
			GracePeriod caddy.Duration `json:"grace_period"`
		}
	}
}

func needsOf(t testing.TB, file string) needs {
	t.Helper()
	c := &harness.Caddy{T: t, Dir: t.TempDir(), Env: harness.ExampleEnv}
	out, err := c.Command(t.Context(), "adapt", "--config", file).Output()
	if err != nil {
		t.Fatalf("caddy adapt %s: %v", file, err)
	}
	var n needs
	if err := json.Unmarshal(out, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func within(file string, dirs ...string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return strings.HasPrefix(file, dir+"/") })
}

// TestDeploymentsAgree compares the unit, the image, the Caddyfiles for them and the
// page that says how to install them.
func TestDeploymentsAgree(t *testing.T) {
	service := readUnit(t)
	image, before := readImage(t)
	inUnit, inImage := service.deployment(t), imageDeployment(t, image, before)
	if a, b := fmt.Sprintf("%+v", inUnit), fmt.Sprintf("%+v", inImage); a != b {
		t.Errorf("the unit has %s, the image %s", a, b)
	}
	if home := service.only(t, "WorkingDirectory"); home != inUnit.home || !slices.Contains(inUnit.state, home) {
		t.Errorf("the unit's WorkingDirectory is %s, HOME %s, its state %s", home, inUnit.home, inUnit.state)
	}
	page := readText(t, filepath.Join(buildDir, "README.md"))
	stop, err := time.ParseDuration(service.only(t, "TimeoutStopSec"))
	if err != nil {
		t.Fatal(err)
	}
	stops := []time.Duration{stop}
	for _, found := range regexp.MustCompile(`--stop-timeout (\d+)`).FindAllStringSubmatch(page, -1) {
		d, _ := time.ParseDuration(found[1] + "s")
		stops = append(stops, d)
	}
	if len(stops) < 2 {
		t.Error("the page stops no container")
	}
	builtIn, err := filepath.Abs(filepath.Join(buildDir, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	production := harness.CaddyfileOf(t, "production")
	for _, file := range []string{production, builtIn} {
		n := needsOf(t, file)
		if !within(n.Apps.Chat.Store.Path, inUnit.state...) {
			t.Errorf("%s: the store is %q, which is not in %s", file, n.Apps.Chat.Store.Path, inUnit.state)
		}
		for _, glob := range n.Apps.Chat.Tenants {
			if !within(glob, path.Dir(inUnit.config)) {
				t.Errorf("%s: the tenants are %s, which are not beside %s", file, glob, inUnit.config)
			}
		}
		grace := time.Duration(n.Apps.HTTP.GracePeriod)
		if grace <= 0 || grace >= slices.Min(stops) {
			t.Errorf("%s: the grace period is %v, the unit and containers stop after %v", file, grace, stops)
		}
	}
	for _, name := range harness.Found(t, "caddyfile-examples/production/Caddyfile", `\{env\.(\w+)\}`) {
		if !regexp.MustCompile(`(?m)^#\t` + name + `\b`).MatchString(readText(t, production)) {
			t.Errorf("the production example does not say that it needs %s", name)
		}
	}
	env := strings.TrimPrefix(service.only(t, "EnvironmentFile"), "-")
	program, _, _ := strings.Cut(service.only(t, "ExecStart"), " ")
	for _, text := range []string{
		"bin/caddy " + program + "\n", " Caddyfile " + inUnit.config + "\n", " env " + env + " ", "--home-dir " + inUnit.home + " ",
		" " + inUnit.user + "\n", ":" + inUnit.config + ":ro", "-v caddy:" + inUnit.home + " ",
	} {
		if !strings.Contains(page, text) {
			t.Errorf("xcaddy-build/README.md does not say %q", text)
		}
	}
	for _, name := range []string{"AmbientCapabilities", "CapabilityBoundingSet"} {
		if got := service.only(t, name); got != "CAP_NET_BIND_SERVICE" {
			t.Errorf("%s is %s, which is not what ports 80 and 443 need", name, got)
		}
	}
}

// TestImage checks what an image should say of itself. Its health check is tried in
// TestImageServes.
func TestImage(t *testing.T) {
	image, before := readImage(t)
	labels := strings.Join(argsOf(image, "LABEL"), " ")
	for _, name := range []string{"title", "description", "source", "documentation", "licenses", "version"} {
		if !regexp.MustCompile(`(^|\s)org\.opencontainers\.image\.` + name + `="[^"]+"`).MatchString(labels) {
			t.Errorf("the image has no label %s", name)
		}
	}
	entry := commandOf(t, image, "ENTRYPOINT")[0]
	if got := commandOf(t, image, "HEALTHCHECK"); len(got) != 2 || got[0] != entry || got[1] != "chat-health" {
		t.Errorf("the health check is %q", got)
	}
	d := imageDeployment(t, image, before)
	if !slices.Contains(argsOf(image, "COPY"), "xcaddy-build/Caddyfile "+d.config) {
		t.Errorf("the image has no Caddyfile at %s", d.config)
	}
	if users := argsOf(image, "USER"); len(users) != 1 || !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(users[0]) {
		t.Errorf("the image runs as %q, want numbers other than 0", users)
	}
	ignored := readText(t, "../../.dockerignore")
	for _, copied := range argsOf(image, "COPY") {
		source, _, _ := strings.Cut(copied, " ")
		if dir, _, _ := strings.Cut(source, "/"); !strings.HasPrefix(source, "--") && !strings.Contains(ignored, "\n!"+dir+"\n") {
			t.Errorf(".dockerignore keeps %s out", source)
		}
	}
}

// TestUnit lets systemd read the unit.
func TestUnit(t *testing.T) {
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatal("systemd-analyze is not installed")
	}
	if err != nil {
		t.Skip("systemd-analyze is not installed: apt-get install systemd")
	}
	service := readUnit(t)
	program, _, _ := strings.Cut(service.only(t, "ExecStart"), " ")
	text := strings.ReplaceAll(readText(t, filepath.Join(buildDir, "caddy-chat.service")), program, harness.Binary(t))
	file := filepath.Join(t.TempDir(), "caddy-chat.service")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), tool, "verify", "--man=no", "--recursive-errors=one", file).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}
