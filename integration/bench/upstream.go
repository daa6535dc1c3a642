package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"

	"github.com/caddy-chat/caddy-chat/integration/bench/replay"
)

// asUpstream as the only argument makes this program the upstream.
const asUpstream = "upstream"

// startUpstream runs the replaying upstream in its own process, so that its CPU
// time and garbage do not count as a proxy's or the clients'. It returns the
// upstream's address.
func startUpstream(ctx context.Context) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, self, asUpstream) //nolint:gosec // ourselves
	cmd.Stderr = os.Stderr
	// The upstream exits when this pipe closes, however we exit.
	if _, err := cmd.StdinPipe(); err != nil {
		return "", err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	addr, err := bufio.NewReader(out).ReadString('\n')
	return strings.TrimSpace(addr), err
}

// beUpstream serves until its standard input ends.
func beUpstream() error {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}()
	return replay.Serve(l)
}
