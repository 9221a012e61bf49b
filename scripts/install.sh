#!/bin/sh
# Installs PiCloud as a service of systemd, upgrades it and removes it. Made to be copied to a Pi
# beside the executable: it needs POSIX sh, systemd 247 or newer, and nothing else. The unit is at
# the end of this file; docs/install.md says what to change where.
set -eu
umask 022

usage() {
  cat <<'END'
Usage: sudo ./install.sh [--backup <file>] [--no-start] [--dry-run] [<executable>]
       sudo ./install.sh --uninstall [--purge-data] [--dry-run]
       ./install.sh --print-unit

Installs the executable (given, or picloud beside this script, or one that ./scripts/build made) and
starts it. Run again with a newer one to upgrade: settings and data stay.

  --backup <file>  before an upgrade, write a backup with the version that is installed
  --no-start       install only; do not start or restart the service
  --uninstall      remove the service and the executable; settings and data stay
  --purge-data     with --uninstall: delete settings and all data, too
  --dry-run        say what would be done, and do nothing
  --print-unit     print the unit

DESTDIR=<folder> installs into that folder, as if it were /, without root and without systemd.
Exit codes: 0 done; 1 failed, and the message says why; 2 wrong command line.
END
}

service=picloud
destdir=${DESTDIR:-}
bin=$destdir/usr/local/bin/picloud
previous=$bin.previous
unit=$destdir/etc/systemd/system/$service.service
conf=$destdir/etc/picloud/picloud.conf
# DynamicUser keeps the folder where nobody else may look, and a link to it in /var/lib.
data=$destdir/var/lib/private/picloud
data_link=$destdir/var/lib/picloud
# How long the service may take to become ready before this script stops waiting for it, seconds.
ready_s_max=120

say() { printf '%s\n' "$*"; }
fail() {
  printf 'install.sh: %s\n' "$*" >&2
  exit 1
}
wrong() {
  printf 'install.sh: %s\n' "$*" >&2
  usage >&2
  exit 2
}

# Does it, or says that it would.
act() {
  if [ "$dry_run" = 1 ]; then say "would: $*"; else "$@"; fi
}
# Does it where there is a systemd to do it to.
ctl() {
  [ -n "$destdir" ] || act systemctl "$@"
}

main() {
  mode=install dry_run=0 start=1 purge=0 backup='' executable=''
  while [ $# -gt 0 ]; do
    case $1 in
      -h | --help) usage && exit 0 ;;
      --print-unit) print_unit && exit 0 ;;
      --uninstall) mode=uninstall ;;
      --purge-data) purge=1 ;;
      --no-start) start=0 ;;
      --dry-run) dry_run=1 ;;
      --backup)
        [ $# -ge 2 ] && [ -n "$2" ] || wrong "--backup: needs a file"
        backup=$2
        shift
        ;;
      -*) wrong "unknown flag $1" ;;
      *)
        [ -z "$executable" ] || wrong "unexpected argument $1"
        executable=$1
        ;;
    esac
    shift
  done
  [ "$purge" = 0 ] || [ "$mode" = uninstall ] || wrong "--purge-data: only with --uninstall"
  [ -z "$backup" ] || [ "$mode" = install ] || wrong "--backup: not with --uninstall"
  [ -z "$executable" ] || [ "$mode" = install ] || wrong "unexpected argument $executable"
  check_system
  if [ "$mode" = install ]; then install_service; else uninstall_service; fi
}

check_system() {
  # A folder is no system, and what is only said changes none.
  if [ -n "$destdir" ]; then
    case $destdir in /*) ;; *) wrong "DESTDIR: must begin with a slash" ;; esac
    return 0
  fi
  [ "$dry_run" = 1 ] || [ "$(id -u)" = 0 ] || fail "must be run as root: sudo $0"
  [ -d /run/systemd/system ] || fail "this machine does not run systemd; start $bin serve by other means"
  version=$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
  [ "${version:-0}" -ge 247 ] || fail "systemd ${version:-of an unknown version} is too old; 247 is needed"
}

# ---------------------------------------------------------------------------------------------
# install, and upgrade

install_service() {
  find_executable
  check_executable "$executable"
  new_version=$(version_of "$executable")
  [ -n "$new_version" ] || fail "$executable does not run on this machine, or is no PiCloud"
  old_version=''
  [ ! -x "$bin" ] || old_version=$(version_of "$bin")

  # First of all, so that whoever has to change a port has a file to do it in.
  if [ ! -e "$conf" ]; then
    act mkdir -p "$(dirname "$conf")"
    act write_conf "$conf"
  fi
  was_active=0
  if [ -z "$destdir" ] && systemctl is-active --quiet "$service"; then was_active=1; fi
  [ "$was_active" = 1 ] || [ "$start" = 0 ] || check_ports
  take_backup

  place_executable
  place_unit
  ctl daemon-reload
  ctl enable --quiet "$service"
  if [ "$dry_run" = 1 ]; then
    say "would: have PiCloud $new_version, in place of ${old_version:-none}"
  elif [ -z "$old_version" ]; then
    say "PiCloud $new_version is installed as $bin"
  elif [ "$old_version" = "$new_version" ]; then
    say "PiCloud $new_version is installed again as $bin"
  else
    say "PiCloud $old_version is upgraded to $new_version"
  fi
  if [ "$start" = 1 ] && [ -z "$destdir" ]; then start_service; else forget_previous; fi
}

find_executable() {
  here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
  case $(uname -m) in
    aarch64 | arm64) target=linux-arm64 ;;
    *) target=linux-x64 ;;
  esac
  if [ -z "$executable" ]; then
    for candidate in "$here/picloud" "$here/../dist/picloud-$target" "$here/../dist/picloud"; do
      if [ -f "$candidate" ]; then
        executable=$candidate
        break
      fi
    done
  fi
  [ -n "$executable" ] || fail "no executable found: give its path, or put it beside this script"
  [ -f "$executable" ] || fail "$executable: no such file"
}

# Throws out what is for another machine, before it is run.
check_executable() {
  case $(uname -m) in
    aarch64 | arm64) wanted=b700 machine='64-bit ARM' ;;
    x86_64 | amd64) wanted=3e00 machine=x86-64 ;;
    *) fail "PiCloud needs 64-bit ARM or x86-64, and this machine is $(uname -m)" ;;
  esac
  # A 64-bit kernel under a 32-bit system, as Raspberry Pi OS (32-bit) has it.
  if command -v getconf >/dev/null && [ "$(getconf LONG_BIT)" != 64 ]; then
    fail "this system is 32-bit; PiCloud needs a 64-bit one, such as Raspberry Pi OS (64-bit)"
  fi
  # ELF's magic number and class, and its machine (elf.h: 0xb7 is AArch64, 0x3e x86-64).
  magic=$(od -An -tx1 -N5 "$1" | tr -d ' \n')
  [ "$magic" = 7f454c4602 ] || fail "$1 is no 64-bit executable"
  found=$(od -An -tx1 -j18 -N2 "$1" | tr -d ' \n')
  case $found in
    "$wanted") ;;
    b700) fail "$1 is for 64-bit ARM, and this machine is $machine" ;;
    3e00) fail "$1 is for x86-64, and this machine is $machine" ;;
    *) fail "$1 is for another machine; this one is $machine" ;;
  esac
}

# Its version, or nothing. A copy on a memory stick may not be executable where it is.
version_of() {
  if [ -x "$1" ]; then
    "$1" version 2>/dev/null </dev/null | sed -n 's/^picloud //p' || true
  else
    scratch=$(mktemp -d)
    cp "$1" "$scratch/picloud" && chmod 700 "$scratch/picloud"
    "$scratch/picloud" version 2>/dev/null </dev/null | sed -n 's/^picloud //p' || true
    rm -rf "$scratch"
  fi
}

check_ports() {
  [ -z "$destdir" ] && command -v ss >/dev/null || return 0
  for setting in PICLOUD_BIND:8080 PICLOUD_ADMIN_BIND:8081; do
    name=${setting%:*}
    port=${setting#*:}
    given=''
    [ ! -r "$conf" ] || given=$(sed -n "s/^[[:space:]]*$name=.*:\([0-9]*\)[\"']*[[:space:]]*\$/\1/p" "$conf" | tail -n 1)
    [ -z "$given" ] || port=$given
    [ "$port" != 0 ] || continue
    if [ -n "$(ss -Hltn "sport = :$port")" ]; then
      fail "port $port is in use by another program; stop that, or set $name in $conf"
    fi
  done
}

take_backup() {
  if [ -n "$backup" ]; then
    [ -n "$old_version" ] || fail "--backup: nothing is installed yet"
    act "$bin" backup "$backup" --data-dir "$data" --config "$conf" || fail "the backup failed, and nothing was changed"
  elif [ -n "$old_version" ] && [ "$old_version" != "$new_version" ] && [ -d "$data" ]; then
    say "No backup is taken (--backup <file>); an older PiCloud refuses data that a newer one has changed."
  fi
}

# The name changes hands in one step: a power cut leaves the old file or the new one, and a running
# server keeps the one it was started from.
place_executable() {
  act mkdir -p "$(dirname "$bin")"
  act rm -f "$bin.new"
  act cp "$executable" "$bin.new"
  act chmod 755 "$bin.new"
  act sync
  # A second name for the old one: what is left to go back to when the new one does not start.
  [ ! -e "$bin" ] || act ln -f "$bin" "$previous"
  act mv -f "$bin.new" "$bin"
}

forget_previous() {
  [ ! -e "$previous" ] || act rm -f "$previous"
}

place_unit() {
  act mkdir -p "$(dirname "$unit")"
  act write_unit "$unit"
}
write_unit() {
  print_unit >"$unit.new"
  chmod 644 "$unit.new"
  mv -f "$unit.new" "$unit"
}

# It may hold secrets: systemd reads it as root, and nobody else needs to.
write_conf() {
  (
    umask 077
    cat >"$conf.new" <<'END'
# Settings of PiCloud, one NAME=value a line; `picloud serve --help` lists them all.
# After a change: sudo systemctl restart picloud

#PICLOUD_BIND=0.0.0.0:8080
#PICLOUD_ADMIN_BIND=0.0.0.0:8081
#PICLOUD_PUBLIC_BASE_URL=https://pi.example.com
#PICLOUD_DATABASE_URL=postgres://picloud:password@db.example.com/picloud
END
  )
  mv -f "$conf.new" "$conf"
}

# Waits itself: `systemctl restart` would wait for as long as the server waits for its database.
start_service() {
  [ "$dry_run" = 1 ] || systemctl reset-failed "$service" 2>/dev/null || true
  ctl restart --no-block "$service"
  [ "$dry_run" = 0 ] || return 0
  waited=0
  while [ "$waited" -lt "$ready_s_max" ]; do
    sleep 1
    waited=$((waited + 1))
    state=$(systemctl show -p SubState --value "$service")
    # While a job waits or runs, the state may still be that of the old server.
    if [ -z "$(systemctl list-jobs --no-legend "$service.service" 2>/dev/null)" ] || [ "$state" = auto-restart ]; then
      case $state in
        running)
          forget_previous
          report_addresses
          return 0
          ;;
        auto-restart | failed | dead) break ;;
      esac
    fi
  done
  status=$(systemctl show -p StatusText --value "$service")
  printf 'install.sh: the service is not ready after %s s%s\n' "$waited" "${status:+: $status}" >&2
  journalctl -u "$service" -n 20 --no-pager -o cat >&2 2>/dev/null || true
  [ ! -e "$previous" ] || say "The previous executable is kept; to go back: sudo $0 $previous" >&2
  exit 1
}

report_addresses() {
  host=$(hostname -I 2>/dev/null | sed 's/ .*//')
  say "It runs: $(systemctl show -p StatusText --value "$service")"
  say "On your network this machine is ${host:-$(uname -n)}; scripts on port 8080 and the admin on 8081, unless $conf says otherwise."
  say "The first start prints a link that makes the first account: journalctl -u $service"
}

# ---------------------------------------------------------------------------------------------
# uninstall

uninstall_service() {
  is_there=0
  if [ -e "$unit" ] || [ -e "$bin" ]; then is_there=1; fi
  if [ -e "$unit" ]; then
    ctl disable --quiet --now "$service"
    act rm -f "$unit"
    ctl daemon-reload
  fi
  [ ! -e "$bin" ] || act rm -f "$bin"
  forget_previous
  if [ "$purge" = 1 ]; then
    # Once more by name: these are the only folders that this script deletes.
    act rm -rf "$destdir/var/lib/private/picloud"
    act rm -f "$data_link"
    act rm -rf "$destdir/etc/picloud" "$destdir/etc/systemd/system/$service.service.d"
    [ "$dry_run" = 1 ] || say "PiCloud, its settings and its data are deleted"
  else
    if [ "$is_there" = 0 ]; then
      say "PiCloud is not installed"
    elif [ "$dry_run" = 0 ]; then
      say "PiCloud is removed"
    fi
    for kept in "$conf" "$data"; do
      [ ! -e "$kept" ] || say "Kept: $kept"
    done
  fi
}

# ---------------------------------------------------------------------------------------------

print_unit() {
  cat <<'END'
# PiCloud as a service of systemd, written by install.sh, which replaces it at every upgrade. Settings
# go into /etc/picloud/picloud.conf, changes of the unit into `systemctl edit picloud`.

[Unit]
Description=PiCloud, a functions platform
After=network.target
# A start that fails again and again ends here; `systemctl reset-failed picloud` begins anew.
StartLimitIntervalSec=15min
StartLimitBurst=20

[Service]
# It says READY=1 when it answers and a sandbox can run, and asks for more time while it waits for its
# database. Every 45 s it says that it lives; twice that without a word, and it is started again.
Type=notify
NotifyAccess=main
TimeoutStartSec=60s
WatchdogSec=90s
WatchdogSignal=SIGKILL
ExecStart=/usr/local/bin/picloud serve
EnvironmentFile=-/etc/picloud/picloud.conf
Restart=on-failure
RestartSec=5s
# 2: the command line or the configuration is wrong; starting again does not help.
RestartPreventExitStatus=2
# What is under way has 15 s to end. Only the server is told: it ends its sandboxes itself.
KillMode=mixed
TimeoutStopSec=30s
# What a killed process leaves behind would be its memory, on the card.
LimitCORE=0

# A user that exists while the server runs: nothing else on the machine ever has its number, and all
# that is left of it is /var/lib/picloud, which nobody else may enter.
DynamicUser=yes
StateDirectory=picloud
StateDirectoryMode=0700
UMask=0077

# Shares of the machine's memory. When it is short the kernel ends a sandbox rather than the server:
# sandboxes ask for it (oom_score_adj), and the others are served on.
MemoryHigh=70%
MemoryMax=80%
TasksMax=1024
OOMPolicy=continue
OOMScoreAdjust=-100

# Files: all read-only but its own folder, /dev/shm and a /tmp of its own. Nothing may be executed but
# the server, and the shell that starts a sandbox with its stack and priority.
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateMounts=yes
NoExecPaths=/
ExecPaths=/usr/local/bin/picloud /bin/sh /lib -/lib64 /usr/lib
ProtectProc=invisible
# No ProcSubset=pid: the server fits itself to /proc/meminfo and reads oom_kill in /proc/vmstat.

# The kernel: nothing to see, nothing to change.
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
KeyringMode=private
LockPersonality=yes
# No MemoryDenyWriteExecute: scripts are compiled to machine code while they run (JIT, WebAssembly).
MemoryDenyWriteExecute=no

# Rights: none, and no way to any. A port below 1024 needs one: docs/install.md.
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
PrivateUsers=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources @keyring
# Of the resources: a sandbox's stack, and its priority while its app is kept apart.
SystemCallFilter=prlimit64 setpriority
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
END
}

main "$@"
