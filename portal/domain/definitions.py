"""Says what each figure of a report means: concept, definition, unit. Data only; it must not know pages or formats.

Pages link here by id, exports put the same sentences into their metadata (Satu Data: konsep, definisi, satuan). Bahasa
Indonesia is what counts; English stands beside it. Whoever changes how a figure is made changes its sentence here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Words:
    """In one language. ``unit`` "" where it is no figure."""

    concept: str
    definition: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Definition:
    """``id`` is what links end with, and never changes."""

    id: str
    indonesian: Words
    english: Words

    def words(self, language: str) -> Words:
        """In English where ``language`` is "en", else in Bahasa Indonesia."""
        return self.english if language == "en" else self.indonesian


DEFINITIONS: Final = (
    Definition(
        "devices",
        Words(
            "Perangkat",
            "Banyaknya perangkat berbeda yang sesinya berjalan pada hari atau jam itu. Perangkat yang masuk beberapa "
            "kali dihitung satu. Angka ini hanya ada per hari dan per jam, tidak pernah dijumlahkan antarhari: "
            "perangkat yang sama datang lagi pada hari lain. Untuk sebulan ditunjukkan rata-rata dari hari yang ada "
            "perangkatnya, dan hari dengan perangkat terbanyak.",
            "perangkat",
        ),
        Words(
            "Devices",
            "Different devices with a session running on that day or in that hour. One that comes in several times "
            "counts once. There is such a figure per day and per hour only, and it is never summed over days: the same "
            "device comes again on another day. For a month the mean of the days with any device is shown, and the "
            "day with the most.",
            "devices",
        ),
    ),
    Definition(
        "sessions",
        Words(
            "Sesi",
            "Waktu online satu perangkat dari masuk sampai berakhir, dihitung pada hari mulainya. Jika gateway mati "
            "atau dinyalakan ulang, sesi berakhir; sisa waktunya dilanjutkan oleh sesi baru yang dihitung juga.",
            "sesi",
        ),
        Words(
            "Sessions",
            "One device's time online from login to end, counted on the day on which it began. When the gateway loses "
            "power or starts again the session ends; what was left goes on in a new session, which counts too.",
            "sessions",
        ),
    ),
    Definition(
        "session-length",
        Words(
            "Lama sesi (median)",
            "Lama sesi yang di tengah: separuh sesi yang berakhir pada hari atau bulan itu lebih pendek, separuh lebih "
            "panjang. Tidak ada angkanya bila tidak ada sesi yang berakhir.",
            "detik",
        ),
        Words(
            "Length of a session (median)",
            "The length in the middle: half of the sessions that ended on that day or in that month were shorter, half "
            "longer. There is no figure where no session ended.",
            "seconds",
        ),
    ),
    Definition(
        "peak",
        Words(
            "Online bersamaan, terbanyak",
            "Banyaknya sesi yang berjalan pada saat yang sama, pada saat paling ramai.",
            "perangkat",
        ),
        Words("Online at once, most", "Sessions that ran at the same moment, at the busiest moment.", "devices"),
    ),
    Definition(
        "p95",
        Words(
            "Online bersamaan, persentil 95",
            "Selama 95 % dari waktu (setiap detik dihitung), paling banyak sekian perangkat online bersamaan. Saat "
            "ramai yang hanya sebentar tidak memengaruhinya.",
            "perangkat",
        ),
        Words(
            "Online at once, 95th percentile",
            "For 95 % of the time (of all seconds) at most so many devices were online at once. A short rush does not "
            "change it.",
            "devices",
        ),
    ),
    Definition(
        "heat",
        Words(
            "Keramaian menurut jam dan hari",
            "Rata-rata dari angka online bersamaan terbanyak tiap jam, untuk jam yang sama pada hari yang sama dalam "
            "sebulan. Jam ketika gateway mati seluruhnya atau catatannya tidak ada tidak ikut dihitung.",
            "perangkat",
        ),
        Words(
            "Busy hours by weekday",
            "The mean of each hour's most online at once, over the same hour of the same weekday in a month. Hours in "
            "which the gateway was off throughout, or of which there is no log, are left out.",
            "devices",
        ),
    ),
    Definition(
        "bytes-down",
        Words(
            "Data diunduh",
            "Byte dari Internet ke perangkat, dihitung di gateway termasuk kepala paket (lapis 3), pada jam dan hari "
            "ketika lewat. 1 GB adalah satu miliar byte.",
            "byte",
        ),
        Words(
            "Data downloaded",
            "Bytes from the Internet to devices, counted at the gateway with the packets' headers (layer 3), in the "
            "hour and on the day on which they passed. 1 GB is a thousand million bytes.",
            "bytes",
        ),
    ),
    Definition(
        "bytes-up",
        Words(
            "Data diunggah",
            "Byte dari perangkat ke Internet, dihitung dengan cara yang sama.",
            "byte",
        ),
        Words("Data uploaded", "Bytes from devices to the Internet, counted in the same way.", "bytes"),
    ),
    Definition(
        "joined",
        Words(
            "Tersambung ke Wi-Fi",
            "Banyaknya perangkat yang pada hari itu mendapat alamat dari gateway, termasuk yang tidak pernah membuka "
            "halaman. Untuk sebulan: jumlah dari hari-harinya, jadi satu perangkat dihitung sekali untuk setiap hari.",
            "perangkat-hari",
        ),
        Words(
            "Joined the Wi-Fi",
            "Devices that got an address from the gateway on that day, also those that never opened the page. For a "
            "month: the sum of its days, so that a device counts once for each day.",
            "device-days",
        ),
    ),
    Definition(
        "saw",
        Words(
            "Melihat halaman",
            "Dari perangkat yang tersambung: yang pada hari itu membuka halaman Wi-Fi desa, atau langsung online.",
            "perangkat-hari",
        ),
        Words(
            "Saw the page",
            "Of the devices that joined: those that opened the village Wi-Fi's page on that day, or were online "
            "at once.",
            "device-days",
        ),
    ),
    Definition(
        "online",
        Words(
            "Online",
            "Dari perangkat yang tersambung: yang pada hari itu mendapat sesi.",
            "perangkat-hari",
        ),
        Words("Online", "Of the devices that joined: those that got a session on that day.", "device-days"),
    ),
    Definition(
        "os-family",
        Words(
            "Jenis sistem",
            "Keluarga sistem operasi perangkat, menurut cara perangkat itu memeriksa Internet dan nama perambannya. "
            "Tidak diketahui: belum ada tanda.",
        ),
        Words(
            "Kind of system",
            "Family of the device's operating system, from how it checks for the Internet and from its browser's name. "
            "Unknown: there was no sign.",
        ),
    ),
    Definition(
        "available",
        Words(
            "Internet tersedia",
            "Bagian waktu ketika Internet bisa dipakai: waktu normal ditambah waktu lambat, dibagi waktu normal, "
            "lambat, Internet putus dan gateway mati. Waktu yang belum diketahui atau tanpa catatan tidak ikut "
            "dihitung. Dibulatkan ke bawah.",
            "%",
        ),
        Words(
            "Internet available",
            "Share of the time in which the Internet could be used: time up plus time degraded, divided by time up, "
            "degraded, down and off. Time that is unknown or without a log is left out. Rounded down.",
            "%",
        ),
    ),
    Definition(
        "off",
        Words(
            "Gateway mati",
            "Gateway tidak menyala atau tidak bekerja: tidak ada tanda hidupnya lebih dari 2 menit. Biasanya listrik "
            "padam.",
            "detik",
        ),
        Words(
            "Gateway off",
            "The gateway had no power or did not run: no sign of life for more than 2 minutes. Mostly a power cut.",
            "seconds",
        ),
    ),
    Definition(
        "down",
        Words(
            "Internet putus",
            "Gateway bekerja, tetapi Internet tidak terjangkau lewat saluran penyedia.",
            "detik",
        ),
        Words(
            "Internet down",
            "The gateway ran, but did not reach the Internet over the provider's line.",
            "seconds",
        ),
    ),
    Definition(
        "degraded",
        Words(
            "Internet lambat",
            "Internet terjangkau, tetapi banyak paket hilang atau jeda sangat lama.",
            "detik",
        ),
        Words(
            "Internet degraded",
            "The Internet was reached, but with much loss or a long delay.",
            "seconds",
        ),
    ),
    Definition(
        "up",
        Words("Internet normal", "Internet terjangkau tanpa gangguan.", "detik"),
        Words("Internet up", "The Internet was reached without trouble.", "seconds"),
    ),
    Definition(
        "unknown",
        Words(
            "Belum diketahui",
            "Gateway bekerja, tetapi belum selesai memeriksa salurannya, misalnya sesaat setelah menyala.",
            "detik",
        ),
        Words(
            "Not known yet",
            "The gateway ran, but had not finished checking its line, as shortly after a start.",
            "seconds",
        ),
    ),
    Definition(
        "lost",
        Words(
            "Catatan hilang",
            "Catatan tentang waktu itu rusak atau hilang. Apa yang terjadi tidak diketahui; ini bukan nol.",
            "detik",
        ),
        Words(
            "Log lost",
            "The log of that time is damaged or gone. What happened is not known; this is not zero.",
            "seconds",
        ),
    ),
    Definition(
        "before",
        Words(
            "Di luar catatan",
            "Sebelum catatan dimulai, atau waktu yang belum tiba.",
            "detik",
        ),
        Words("Outside the log", "Before the log began, or still to come.", "seconds"),
    ),
    Definition(
        "latency",
        Words(
            "Waktu tanggap",
            "Lamanya jawaban dari Internet datang, diukur tiap 5 menit. Median: separuh pengukuran lebih cepat. "
            "Persentil 95: 95 % pengukuran tidak lebih lama dari itu. Saat Internet putus tidak ada pengukuran.",
            "milidetik",
        ),
        Words(
            "Latency",
            "How long an answer from the Internet takes, measured every 5 minutes. Median: half of the measurements "
            "were faster. 95th percentile: 95 % of them took no longer. There is none while the Internet is down.",
            "milliseconds",
        ),
    ),
    Definition(
        "loss",
        Words(
            "Paket hilang",
            "Bagian paket uji yang tidak dijawab, diukur tiap 5 menit; median dan persentil 95 seperti waktu tanggap.",
            "%",
        ),
        Words(
            "Loss",
            "Share of test packets without an answer, measured every 5 minutes; median and 95th percentile as for "
            "latency.",
            "%",
        ),
    ),
    Definition(
        "provider",
        Words(
            "Penyedia dan jenis saluran",
            "Penyedia Internet dan jenis salurannya, seperti tercatat dalam pengaturan gateway pada waktu itu.",
        ),
        Words(
            "Provider and kind of line",
            "The Internet provider and the sort of its line, as the gateway's settings said at that time.",
        ),
    ),
    Definition(
        "day",
        Words(
            "Hari dan jam",
            "Menurut waktu setempat gateway. Hari mulai pukul 00.00.",
        ),
        Words("Day and hour", "In the gateway's local time. A day begins at 00:00."),
    ),
    Definition(
        "uncertain",
        Words(
            "Waktu tidak pasti",
            "Gateway belum mencocokkan jamnya lewat Internet sejak menyala, sehingga tanggal dan jam catatan itu "
            "mungkin meleset. Lamanya dan jumlahnya tetap benar.",
        ),
        Words(
            "Time uncertain",
            "The gateway had not set its clock by the Internet since it started, so that dates and hours of these "
            "entries may be off. Lengths and amounts are right all the same.",
        ),
    ),
    Definition(
        "change",
        Words(
            "Perbandingan dengan bulan lain",
            "Sesi dan data dibandingkan per hari tercatat, karena bulan tidak sama panjang dan catatan bisa bolong. "
            "Angka lain dibandingkan langsung. Internet tersedia dibandingkan dalam poin persen.",
            "%",
        ),
        Words(
            "Comparison with another month",
            "Sessions and data are compared per day with a log, since months differ in length and a log may have gaps. "
            "Other figures are compared as they are; availability in percentage points.",
            "%",
        ),
    ),
    Definition(
        "device",
        Words(
            "Nama samaran perangkat",
            "Nama acak sebuah perangkat, yang berganti setiap bulan menurut waktu mulainya sesi. Dari nama ini tidak "
            "bisa diketahui perangkat atau pemiliknya, dan perangkat yang sama tidak bisa diikuti ke bulan lain.",
        ),
        Words(
            "Device's pseudonym",
            "A random name of a device, another one each month, by when the session began. It tells neither device nor "
            "owner, and the same device cannot be followed into another month.",
        ),
    ),
    Definition(
        "plan",
        Words(
            "Paket", "Aturan kecepatan, kuota dan jam yang berlaku bagi sesi itu saat dimulai atau terakhir diganti."
        ),
        Words("Plan", "Rules of speed, budget and hours that the session began with or was last changed to."),
    ),
    Definition(
        "method",
        Words("Cara masuk", "Persetujuan syarat (satu ketukan), voucher, atau akun kantor."),
        Words("Way in", "Terms of use (one tap), a voucher, or an office's account."),
    ),
    Definition(
        "reason",
        Words("Alasan berakhir", "Mengapa sesi berakhir; kosong selama sesi masih berjalan."),
        Words("Why it ended", "Why the session ended; empty while it runs."),
    ),
)

BY_ID: Final = {one.id: one for one in DEFINITIONS}
