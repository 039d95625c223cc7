#!/bin/bash
# archive-wal.sh PATH NAME FOLDER: keeps one segment of the write-ahead log. PostgreSQL's archive_command:
# 'archive-wal.sh "%p" "%f" FOLDER'. Success means that the segment is on the disk; one that is there already must be
# the same, since two clusters that write one archive would spoil it.
set -euo pipefail
umask 077
path=$1 name=$2 folder=$3

if [ -e "$folder/$name" ]; then
  cmp --silent "$path" "$folder/$name" && exit 0
  echo "$folder/$name is another segment: is this the archive of another cluster?" >&2
  exit 1
fi
part=$folder/.$name.part
cp -- "$path" "$part"
sync "$part"
mv -- "$part" "$folder/$name"
sync "$folder"
