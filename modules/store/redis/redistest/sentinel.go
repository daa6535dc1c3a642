package redistest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// MasterSet is the name that Sentinels watch.
const MasterSet = "main"

// Sentinels are three sentinels that watch a master and its replica. They want the user
// default with the password sentinel-secret, and the servers want server-secret.
type Sentinels struct {
	Master, Replica *Server
	Sentinels       []*Server
}

// StartSentinels starts them, with TLS if there are certificates.
func StartSentinels(t testing.TB, c *Certificates) *Sentinels {
	t.Helper()
	return startSentinels(t, c, "127.0.0.1", nil, "")
}

// StartNamedSentinels starts them with TLS and certificates for a name of 127.0.0.1, by
// which all announce themselves.
func StartNamedSentinels(t testing.TB, c *Certificates, name string) *Sentinels {
	t.Helper()
	return startSentinels(t, c.For(t, name), name, []string{"--replica-announce-ip", name},
		"sentinel resolve-hostnames yes\nsentinel announce-hostnames yes\nsentinel announce-ip "+name+"\n")
}

func startSentinels(t testing.TB, c *Certificates, host string, announce []string, announceText string) *Sentinels {
	t.Helper()
	begin := func(args ...string) *Server {
		args = append([]string{"--requirepass", "server-secret", "--masterauth", "server-secret", "--repl-diskless-sync-delay", "0"}, append(announce, args...)...)
		port := freePort(t)
		s := &Server{Addr: "127.0.0.1:" + port, password: "server-secret"}
		if c == nil {
			return start(t, s, append([]string{"--port", port}, args...))
		}
		s.tls = c
		return start(t, s, append(c.args(port), args...))
	}
	all := &Sentinels{Master: begin()}
	_, port, _ := net.SplitHostPort(all.Master.Addr)
	all.Replica = begin("--replicaof", host+" "+port)
	eventually(t, "the replica follows its master", func() bool {
		return strings.Contains(all.Replica.Command("INFO", "replication"), "master_link_status:up")
	})
	for range 3 {
		own := freePort(t)
		s := &Server{Addr: "127.0.0.1:" + own, password: "sentinel-secret"}
		config := filepath.Join(t.TempDir(), "sentinel.conf") // a sentinel writes it
		text := new(bytes.Buffer)
		text.WriteString(announceText)
		fmt.Fprintf(text, "bind 127.0.0.1\nrequirepass sentinel-secret\nsentinel sentinel-pass sentinel-secret\n"+
			"sentinel monitor %[1]s %[2]s %[3]s 2\nsentinel auth-pass %[1]s server-secret\n"+
			"sentinel down-after-milliseconds %[1]s 1000\nsentinel failover-timeout %[1]s 5000\n", MasterSet, host, port)
		args := []string{"--port", own}
		if c != nil {
			s.tls, args = c, c.args(own)
		}
		for i := 0; i < len(args); i += 2 {
			fmt.Fprintln(text, strings.TrimPrefix(args[i], "--"), args[i+1])
		}
		if err := os.WriteFile(config, text.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		s.sentinel = true
		all.Sentinels = append(all.Sentinels, start(t, s, []string{config, "--sentinel"}))
	}
	for _, s := range all.Sentinels {
		eventually(t, "the sentinels know each other and the replica", func() bool {
			info := s.Command("INFO", "sentinel")
			return strings.Contains(info, "slaves=1,sentinels=3")
		})
	}
	return all
}

// URL returns the URL for store redis. Of the sentinels it names two.
func (s *Sentinels) URL() string {
	return fmt.Sprintf("%s://default:server-secret@%s?addr=%s&master_set=%s&sentinel_user=default&sentinel_password=sentinel-secret",
		s.Master.scheme(), s.Sentinels[0].Addr, s.Sentinels[1].Addr, MasterSet)
}
