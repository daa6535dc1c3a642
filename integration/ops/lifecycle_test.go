package ops

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-chat/caddy-chat/integration/harness"
)

// running is an answer in progress.
type running struct {
	session string
	stream  *harness.Events
	call    *harness.HeldCall
	seen    []harness.Event
}

// midStream starts n answers and leaves each open after "part one".
func midStream(cl *harness.Client, up *harness.Upstream, n int) []*running {
	cl.T.Helper()
	list := make([]*running, n)
	for i := range list {
		r := &running{session: harness.NewSession()}
		a := cl.Ask(r.session, fmt.Sprint("question ", i))
		r.call = up.Call()
		r.call.Say("part one")
		r.stream = a.Events()
		r.seen = r.stream.Text("part one")
		list[i] = r
	}
	return list
}

// tryReload loads the current Caddyfile, which may fail.
func tryReload(c *harness.Caddy) (string, error) {
	c.T.Helper()
	ctx, cancel := context.WithTimeout(c.T.Context(), harness.Patience)
	defer cancel()
	out, err := c.Command(ctx, "reload", "--config", "Caddyfile", "--force", "--address", strings.TrimPrefix(c.Admin, "http://")).CombinedOutput()
	return string(out), err
}

func TestReload(t *testing.T) {
	t.Run("keeps 100 streams open", func(t *testing.T) {
		up := harness.NewUpstream(t)
		c := harness.Start(t, harness.PlainTenants, up.Chain(""))
		ann := harness.NewClient(c, "acme", "ann")
		list := midStream(ann, up, 100)
		for i := range 2 {
			c.WriteConfig(harness.PlainTenants, up.Chain(fmt.Sprintf("system \"number %d\"", i)))
			c.Reload()
			for _, r := range list {
				r.call.Say(fmt.Sprintf(", part %d", i+2))
			}
			// the new configuration serves new requests meanwhile
			a := ann.Ask(harness.NewSession(), "new")
			call := up.Call()
			harness.WantList(t, "what the model gets", call.Said(), []string{fmt.Sprintf("system: number %d", i), "user: new"})
			call.Finish("stop")
			a.Events().Rest()
		}
		for i, r := range list {
			harness.WantFailure(t, ann.Do(http.MethodPost, "/chat", harness.ChatRequest{SessionID: r.session, Message: "busy?"}), 409, "session_busy")
			r.call.Finish("stop")
			end := r.stream.Rest()
			harness.WantIDs(t, append(r.seen, end.Events...))
			if end.Text != ", part 2, part 3" || end.Done == nil || end.Done.FinishReason != "stop" {
				t.Errorf("stream %d ended with %+v", i, end.Events)
			}
			msgs := ann.History(r.session)
			harness.WantList(t, "history", harness.Contents(msgs), []string{fmt.Sprint("user: question ", i), "assistant: part one, part 2, part 3"})
			if msgs[1].Status != "complete" {
				t.Errorf("status is %s", msgs[1].Status)
			}
		}
	})

	t.Run("keeps a follower and a cancel working", func(t *testing.T) {
		up := harness.NewUpstream(t)
		c := harness.Start(t, harness.PlainTenants, up.Chain(""))
		ann := harness.NewClient(c, "acme", "ann")
		r := midStream(ann, up, 1)[0]
		before := ann.Follow(r.session, "").Events()
		before.Text("part one")
		c.Reload()
		after := ann.Follow(r.session, "").Events()
		after.Text("part one")
		if !ann.CancelTurn(r.session) {
			t.Error("the new configuration does not know the turn")
		}
		r.call.WantGone()
		end := r.stream.Rest().Events
		harness.WantRest(t, before, end)
		harness.WantRest(t, after, end)
	})

	t.Run("refuses other options of an open store", func(t *testing.T) {
		up := harness.NewUpstream(t)
		options := func(block string) string { return "chat {\n\tstore badger data " + block + "\n\ttenant acme\n}" }
		c := harness.Start(t, options(""), up.Chain(""))
		ann := harness.NewClient(c, "acme", "ann")
		r := midStream(ann, up, 1)[0]
		for _, block := range []string{"{\nsync_writes\n}", "{\nencryption_key 00112233445566778899aabbccddeeff\n}"} {
			c.WriteConfig(options(block), up.Chain(""))
			out, err := tryReload(c)
			if err == nil || !strings.Contains(out, "restart needed") {
				t.Errorf("%s: %v\n%s", block, err, out)
			}
			if strings.Contains(out, "00112233") {
				t.Errorf("the error shows the key: %s", out)
			}
		}
		r.call.Finish("stop")
		if end := r.stream.Rest(); end.Done == nil || end.Done.FinishReason != "stop" {
			t.Errorf("the stream ended with %+v", end.Events)
		}
		up.Plays(harness.Echoes)
		ann.Say(r.session, "still there?")
		if n := len(ann.History(r.session)); n != 4 {
			t.Errorf("%d messages", n)
		}
		c.WriteConfig(options(""), up.Chain(""))
		c.Reload()
	})
}

func TestKill(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Chain(""))
	ann := harness.NewClient(c, "acme", "ann")
	up.Plays(harness.Echoes)
	var done []string
	for i := range 20 {
		session := harness.NewSession()
		ann.Say(session, fmt.Sprint("done ", i))
		done = append(done, session)
	}
	up.Plays()
	list := midStream(ann, up, 20)
	c.Kill()
	for _, r := range list {
		if end := r.stream.Rest(); end.Done != nil {
			t.Error("a killed stream looks finished")
		}
		r.call.WantGone()
	}

	c.Restart()
	for i, session := range done {
		msgs := ann.History(session)
		harness.WantList(t, "a finished session", harness.Contents(msgs), []string{fmt.Sprint("user: done ", i), fmt.Sprint("assistant: re: done ", i)})
	}
	up.Plays(harness.Echoes)
	for i, r := range list {
		question := fmt.Sprint("question ", i)
		harness.WantList(t, "an unfinished session", harness.Contents(ann.History(r.session)), []string{"user: " + question})
		// free at once, and the question is not stored again
		if a := ann.Say(r.session, question); a.Done == nil {
			t.Errorf("the answer to %s was cut", question)
		}
		harness.WantList(t, "asked again", harness.Contents(ann.History(r.session)), []string{"user: " + question, "assistant: re: " + question})
	}
	if l := ann.List("?limit=100"); len(l.Data.Sessions) != 40 {
		t.Errorf("%d sessions are listed", len(l.Data.Sessions))
	}
}

func TestShutdown(t *testing.T) {
	up := harness.NewUpstream(t)
	c := harness.Start(t, harness.PlainTenants, up.Chain(""))
	ann := harness.NewClient(c, "acme", "ann")
	list := midStream(ann, up, 20)
	// streams of an earlier configuration must end too
	c.Reload()
	list = append(list, midStream(ann, up, 2)...)
	follower := ann.Follow(list[0].session, "").Events()
	follower.Text("part one")
	abandoned := midStream(ann, up, 1)[0]
	abandoned.stream.Resp.Body.Close()

	waiting, no := harness.NewSession(), false
	early := ann.Ask(waiting, "early")
	earlyCall := up.Call()
	document := ann.Start(ann.Request(http.MethodPost, "/chat", harness.ChatRequest{SessionID: harness.NewSession(), Message: "document", Stream: &no}))
	documentCall := up.Call()
	plain := ann.Start(ann.Request(http.MethodPost, "/v1/chat/completions", `{"stream":true,"messages":[{"role":"user","content":"hi"}]}`))
	plainCall := up.Call()
	plainCall.Say("part one")
	plainResp := plain.Answer()

	c.Signal(syscall.SIGTERM)
	var last []harness.Event
	for i, r := range list {
		end := r.stream.Rest()
		if len(end.Events) != 2 || end.Failed == nil || end.Done == nil {
			t.Fatalf("stream %d ended with %+v", i, end.Events)
		}
		harness.WantIDs(t, append(r.seen, end.Events...))
		if end.Failed.Code != "ai_unavailable" || end.Done.FinishReason != "error" {
			t.Errorf("stream %d ended with %+v", i, end.Events)
		}
		r.call.WantGone()
		if i == 0 {
			last = end.Events
		}
	}
	harness.WantRest(t, follower, last)
	abandoned.call.WantGone()
	resp := early.Answer()
	if resp.Header.Get("Retry-After") == "" {
		t.Error("before the first token: no Retry-After")
	}
	harness.WantFailure(t, resp, 503, "ai_unavailable")
	earlyCall.WantGone()
	// a document may finish, like any request in progress
	documentCall.Say("whole")
	documentCall.Finish("stop")
	if resp := document.Answer(); resp.StatusCode != http.StatusOK {
		t.Errorf("document: status %d: %s", resp.StatusCode, harness.ReadAll(t, resp))
	}
	if text := harness.ReadAll(t, plainResp); !strings.Contains(text, `"ai_unavailable"`) || strings.Contains(text, "[DONE]") {
		t.Errorf("the OpenAI stream ended with %s", text)
	}
	<-c.Exit
	if c.Err != nil {
		t.Fatalf("Caddy exited with %v", c.Err)
	}

	c.Restart()
	for _, r := range append(list, abandoned) {
		msgs := ann.History(r.session)
		if len(msgs) != 2 || msgs[1].Content != "part one" || msgs[1].Status != "partial" {
			t.Errorf("history: %+v", msgs)
		}
	}
	harness.WantList(t, "history", harness.Contents(ann.History(waiting)), []string{"user: early"})
	harness.WantFree(t, up, ann, waiting)
}

func TestEncryptedStore(t *testing.T) {
	t.Parallel()
	const key, other = "00112233445566778899aabbccddeeff", "ffeeddccbbaa99887766554433221100"
	up := harness.NewUpstream(t)
	up.Plays(harness.Echoes)
	options := func(line string) string {
		return "chat {\n\tstore badger data {\n\t\t" + line + "\n\t}\n\ttenant acme\n}"
	}
	c := harness.Start(t, options("encryption_key {env.STORE_KEY}"), up.Chain(""), "STORE_KEY="+key)
	ann := harness.NewClient(c, "acme", "ann")
	session := harness.NewSession()
	ann.Say(session, "a very secret word")
	c.Stop()
	for name, content := range filesIn(t, filepath.Join(c.Dir, "data")) {
		if bytes.Contains(content, []byte("secret word")) {
			t.Errorf("%s contains the message in plain text", name)
		}
	}

	refused := func(line, want string) {
		t.Helper()
		c.WriteConfig(options(line), up.Chain(""))
		ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
		defer cancel()
		out, err := c.Command(ctx, "run", "--config", "Caddyfile").CombinedOutput()
		if err == nil || ctx.Err() != nil || !strings.Contains(string(out), want) {
			t.Errorf("%q: %v, want %q in\n%s", line, err, want, out)
		}
		if strings.Contains(string(out), other) || strings.Contains(string(out), key) {
			t.Errorf("the output shows the key:\n%s", out)
		}
	}
	refused("encryption_key "+other, "encryption_key does not fit the store")
	refused("", "encryption_key is missing")
	refused("encryption_key too-short", "want 16, 24 or 32 bytes as hex or base64")

	c.WriteConfig(options("encryption_key {env.STORE_KEY}"), up.Chain(""))
	c.Restart()
	harness.WantList(t, "history", harness.Contents(ann.History(session)), []string{"user: a very secret word", "assistant: re: a very secret word"})

	t.Run("is open in one process at a time", func(t *testing.T) {
		second := &harness.Caddy{T: t, Dir: c.Dir, Env: c.Env, URL: fmt.Sprintf("http://127.0.0.1:%d", harness.FreePort(t)), Admin: fmt.Sprintf("http://127.0.0.1:%d", harness.FreePort(t))}
		second.WriteConfig(options("encryption_key {env.STORE_KEY}"), up.Chain(""))
		ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
		defer cancel()
		out, err := second.Command(ctx, "run", "--config", "Caddyfile").CombinedOutput()
		if err == nil || ctx.Err() != nil || !strings.Contains(string(out), "another process holds") {
			t.Errorf("a second process: %v\n%s", err, out)
		}
		if n := len(ann.History(session)); n != 2 {
			t.Errorf("the first process has %d messages", n)
		}
	})
}

func filesIn(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		files[path] = content
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files in %s: %v", len(files), dir, err)
	}
	return files
}
