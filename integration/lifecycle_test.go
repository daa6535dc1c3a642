package integration

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
)

// running is an answer in its middle.
type running struct {
	session string
	stream  *events
	call    *upstreamCall
	seen    []event
}

// midStream brings n answers to the point where each has said "part one".
func midStream(cl *client, up *steered, n int) []*running {
	cl.t.Helper()
	list := make([]*running, n)
	for i := range list {
		r := &running{session: newSession()}
		a := cl.ask(r.session, fmt.Sprint("question ", i))
		r.call = up.call()
		r.call.say("part one")
		r.stream = a.events()
		r.seen = r.stream.text("part one")
		list[i] = r
	}
	return list
}

// tryReload loads the Caddyfile as it is now, which may fail.
func (c *caddyProcess) tryReload() (string, error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	out, err := c.command(ctx, "reload", "--config", "Caddyfile", "--force", "--address", strings.TrimPrefix(c.admin, "http://")).CombinedOutput()
	return string(out), err
}

func TestReload(t *testing.T) {
	t.Run("loses none of 100 streams", func(t *testing.T) {
		up := newSteered(t)
		c := startCaddy(t, plainTenants, up.chain(""))
		ann := newClient(c, "acme", "ann")
		list := midStream(ann, up, 100)
		for i := range 2 {
			c.writeConfig(plainTenants, up.chain(fmt.Sprintf("system \"number %d\"", i)))
			c.reload()
			for _, r := range list {
				r.call.say(fmt.Sprintf(", part %d", i+2))
			}
			// the new configuration serves new requests meanwhile
			a := ann.ask(newSession(), "new")
			call := up.call()
			wantList(t, "what the model gets", call.prompt.texts(), []string{fmt.Sprintf("system: number %d", i), "user: new"})
			call.finish("stop")
			a.events().rest()
		}
		for i, r := range list {
			wantFailure(t, ann.do(http.MethodPost, "/chat", ask{SessionID: r.session, Message: "busy?"}), 409, "session_busy")
			r.call.finish("stop")
			end := r.stream.rest()
			wantIDs(t, append(r.seen, end.events...))
			if end.text != ", part 2, part 3" || end.done == nil || end.done.FinishReason != "stop" {
				t.Errorf("stream %d ended with %+v", i, end.events)
			}
			msgs := ann.history(r.session)
			wantList(t, "history", contents(msgs), []string{fmt.Sprint("user: question ", i), "assistant: part one, part 2, part 3"})
			if msgs[1].Status != "complete" {
				t.Errorf("status is %s", msgs[1].Status)
			}
		}
	})

	t.Run("keeps a follower and a cancel working", func(t *testing.T) {
		up := newSteered(t)
		c := startCaddy(t, plainTenants, up.chain(""))
		ann := newClient(c, "acme", "ann")
		r := midStream(ann, up, 1)[0]
		before := ann.follow(r.session, "").events()
		before.text("part one")
		c.reload()
		after := ann.follow(r.session, "").events()
		after.text("part one")
		if !ann.cancelTurn(r.session) {
			t.Error("the new configuration does not know of the turn")
		}
		r.call.wantGone()
		end := r.stream.rest().events
		wantRest(t, before, end)
		wantRest(t, after, end)
	})

	t.Run("refuses other options of an open store", func(t *testing.T) {
		up := newSteered(t)
		options := func(block string) string { return "chat {\n\tstore badger data " + block + "\n\ttenant acme\n}" }
		c := startCaddy(t, options(""), up.chain(""))
		ann := newClient(c, "acme", "ann")
		r := midStream(ann, up, 1)[0]
		for _, block := range []string{"{\nsync_writes\n}", "{\nencryption_key 00112233445566778899aabbccddeeff\n}"} {
			c.writeConfig(options(block), up.chain(""))
			out, err := c.tryReload()
			if err == nil || !strings.Contains(out, "restart needed") {
				t.Errorf("%s: %v\n%s", block, err, out)
			}
			if strings.Contains(out, "00112233") {
				t.Errorf("the error tells the key: %s", out)
			}
		}
		r.call.finish("stop")
		if end := r.stream.rest(); end.done == nil || end.done.FinishReason != "stop" {
			t.Errorf("the stream ended with %+v", end.events)
		}
		up.echo()
		ann.say(r.session, "still there?")
		if n := len(ann.history(r.session)); n != 4 {
			t.Errorf("%d messages", n)
		}
		c.writeConfig(options(""), up.chain(""))
		c.reload()
	})
}

func TestKill(t *testing.T) {
	up := newSteered(t)
	c := startCaddy(t, plainTenants, up.chain(""))
	ann := newClient(c, "acme", "ann")
	up.echo()
	var done []string
	for i := range 20 {
		session := newSession()
		ann.say(session, fmt.Sprint("done ", i))
		done = append(done, session)
	}
	up.answer(nil)
	list := midStream(ann, up, 20)
	c.kill()
	for _, r := range list {
		if end := r.stream.rest(); end.done != nil {
			t.Error("a killed stream looks finished")
		}
		r.call.wantGone()
	}

	c.restart()
	for i, session := range done {
		msgs := ann.history(session)
		wantList(t, "a finished session", contents(msgs), []string{fmt.Sprint("user: done ", i), fmt.Sprint("assistant: re: done ", i)})
	}
	up.echo()
	for i, r := range list {
		question := fmt.Sprint("question ", i)
		wantList(t, "an unfinished session", contents(ann.history(r.session)), []string{"user: " + question})
		// free at once, and the question is not stored again
		if a := ann.say(r.session, question); a.done == nil {
			t.Errorf("the answer to %s was cut", question)
		}
		wantList(t, "asked again", contents(ann.history(r.session)), []string{"user: " + question, "assistant: re: " + question})
	}
	if l := ann.list("?limit=100"); len(l.Data.Sessions) != 40 {
		t.Errorf("%d sessions are listed", len(l.Data.Sessions))
	}
}

func TestShutdown(t *testing.T) {
	up := newSteered(t)
	c := startCaddy(t, plainTenants, up.chain(""))
	ann := newClient(c, "acme", "ann")
	list := midStream(ann, up, 20)
	// a stream of an earlier configuration has to learn of the end too
	c.reload()
	list = append(list, midStream(ann, up, 2)...)
	follower := ann.follow(list[0].session, "").events()
	follower.text("part one")
	forsaken := midStream(ann, up, 1)[0]
	forsaken.stream.resp.Body.Close()

	waiting, no := newSession(), false
	early := ann.ask(waiting, "early")
	earlyCall := up.call()
	document := ann.start(ann.request(http.MethodPost, "/chat", ask{SessionID: newSession(), Message: "document", Stream: &no}))
	documentCall := up.call()
	plain := ann.start(ann.request(http.MethodPost, "/v1/chat/completions", `{"stream":true,"messages":[{"role":"user","content":"hi"}]}`))
	plainCall := up.call()
	plainCall.say("part one")
	plainResp := plain.answer()

	c.signal(syscall.SIGTERM)
	var last []event
	for i, r := range list {
		end := r.stream.rest()
		if len(end.events) != 2 || end.failed == nil || end.done == nil {
			t.Fatalf("stream %d ended with %+v", i, end.events)
		}
		wantIDs(t, append(r.seen, end.events...))
		if end.failed.Code != "ai_unavailable" || end.done.FinishReason != "error" {
			t.Errorf("stream %d ended with %+v", i, end.events)
		}
		r.call.wantGone()
		if i == 0 {
			last = end.events
		}
	}
	wantRest(t, follower, last)
	forsaken.call.wantGone()
	resp := early.answer()
	if resp.Header.Get("Retry-After") == "" {
		t.Error("before the first token: no Retry-After")
	}
	wantFailure(t, resp, 503, "ai_unavailable")
	earlyCall.wantGone()
	// a document may finish, as any request may that is being served
	documentCall.say("whole")
	documentCall.finish("stop")
	if resp := document.answer(); resp.StatusCode != http.StatusOK {
		t.Errorf("document: status %d: %s", resp.StatusCode, readAll(t, resp))
	}
	if text := readAll(t, plainResp); !strings.Contains(text, `"ai_unavailable"`) || strings.Contains(text, "[DONE]") {
		t.Errorf("the OpenAI stream ended with %s", text)
	}
	<-c.exit
	if c.err != nil {
		t.Fatalf("Caddy ended with %v", c.err)
	}

	c.restart()
	for _, r := range append(list, forsaken) {
		msgs := ann.history(r.session)
		if len(msgs) != 2 || msgs[1].Content != "part one" || msgs[1].Status != "partial" {
			t.Errorf("history: %+v", msgs)
		}
	}
	wantList(t, "history", contents(ann.history(waiting)), []string{"user: early"})
	wantFree(t, up, ann, waiting)
}

func TestEncryptedStore(t *testing.T) {
	t.Parallel()
	const key, other = "00112233445566778899aabbccddeeff", "ffeeddccbbaa99887766554433221100"
	up := newSteered(t)
	up.echo()
	options := func(line string) string {
		return "chat {\n\tstore badger data {\n\t\t" + line + "\n\t}\n\ttenant acme\n}"
	}
	c := startCaddy(t, options("encryption_key {env.STORE_KEY}"), up.chain(""), "STORE_KEY="+key)
	ann := newClient(c, "acme", "ann")
	session := newSession()
	ann.say(session, "a very secret word")
	c.stop()
	for name, content := range filesIn(t, filepath.Join(c.dir, "data")) {
		if bytes.Contains(content, []byte("secret word")) {
			t.Errorf("%s holds the message as it is", name)
		}
	}

	refused := func(line, want string) {
		t.Helper()
		c.writeConfig(options(line), up.chain(""))
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		out, err := c.command(ctx, "run", "--config", "Caddyfile").CombinedOutput()
		if err == nil || ctx.Err() != nil || !strings.Contains(string(out), want) {
			t.Errorf("%q: %v, want %q in\n%s", line, err, want, out)
		}
		if strings.Contains(string(out), other) || strings.Contains(string(out), key) {
			t.Errorf("the output tells the key:\n%s", out)
		}
	}
	refused("encryption_key "+other, "encryption_key does not fit the store")
	refused("", "encryption_key is missing")
	refused("encryption_key too-short", "want 16, 24 or 32 bytes as hex or base64")

	c.writeConfig(options("encryption_key {env.STORE_KEY}"), up.chain(""))
	c.restart()
	wantList(t, "history", contents(ann.history(session)), []string{"user: a very secret word", "assistant: re: a very secret word"})

	t.Run("is one process's at a time", func(t *testing.T) {
		second := &caddyProcess{t: t, dir: c.dir, env: c.env, url: fmt.Sprintf("http://127.0.0.1:%d", freePort(t)), admin: fmt.Sprintf("http://127.0.0.1:%d", freePort(t))}
		second.writeConfig(options("encryption_key {env.STORE_KEY}"), up.chain(""))
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		out, err := second.command(ctx, "run", "--config", "Caddyfile").CombinedOutput()
		if err == nil || ctx.Err() != nil || !strings.Contains(string(out), "another process holds") {
			t.Errorf("a second process: %v\n%s", err, out)
		}
		if n := len(ann.history(session)); n != 2 {
			t.Errorf("the first one has %d messages", n)
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
