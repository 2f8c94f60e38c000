//! CMAF tracks: init and media segments of one H.264 or AAC track, written box by box so that the
//! same encoded samples always give the same bytes, presentation starts at exactly 0, and one set of
//! segments serves HLS and DASH. Pure; the child's encoders feed it, the worker reads back the codecs.
//!
//! An edit list makes presentation begin at 0: it skips what decoding needs in front, the delay that
//! reordered pictures cause and the priming of sound, so that decoders are primed and the first picture
//! and the first audible sample both lie at 0. (Signed composition offsets would do for pictures too, but
//! FFmpeg's own reader shifts fragments that have them.)

use mp4_atom::{
    Atom, Audio, Avc1, Avcc, AvccExt, Codec, Colr, Decode, Dinf, Dref, DrefEntry, Edts, Elst, ElstEntry, Encode, Esds,
    FourCC, Ftyp, Hdlr, Mdhd, Mdia, Mfhd, Minf, Moof, Moov, Mp4a, Mvex, Mvhd, Pasp, Smhd, Stbl, Stsd, Styp, Tfdt, Tfhd,
    Tkhd, Traf, Trak, Trex, Trun, TrunEntry, Url, Visual, Vmhd,
    esds::{DecoderConfig, DecoderSpecific, EsDescriptor, SLConfig},
};

const TRACK_ID: u32 = 1;
const MOVIE_TIMESCALE: u32 = 1000;
/// A sample that depends on no other.
const SYNC_SAMPLE: u32 = 0x0200_0000;
/// A sample that depends on others and is no sync point.
const DEPENDENT_SAMPLE: u32 = 0x0101_0000;
const AAC_OBJECT_TYPE: u8 = 0x40;
const AUDIO_STREAM_TYPE: u8 = 5;

/// A track could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CmafError {
    /// A box can't be written or read.
    #[error("the media can't be packaged")]
    Boxes(#[from] mp4_atom::Error),
    /// The encoder's headers lack something.
    #[error("the encoder's headers hold no {0}")]
    Missing(&'static str),
    /// A number does not fit its field.
    #[error("a segment is too large")]
    TooLarge,
    /// The init segment is of a codec that this program does not make.
    #[error("the init segment holds no H.264 or AAC track")]
    UnknownCodec,
}

/// A video track's constant properties.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoTrack {
    /// Width in pixels.
    pub width: u16,
    /// Height in pixels.
    pub height: u16,
    /// Ticks a second.
    pub timescale: u32,
    /// Ticks that composition times run ahead of presentation, as pictures are reordered.
    pub delay: u32,
    /// The encoder's headers: SPS and PPS with start codes.
    pub headers: Vec<u8>,
    /// Primaries, transfer and matrix by the code points of ISO/IEC 23091-2, if known.
    pub colour: Option<(u16, u16, u16)>,
}

/// An audio track's constant properties.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioTrack {
    /// Samples a second; the time scale too.
    pub sample_rate: u16,
    /// Channels.
    pub channels: u16,
    /// Bits a second.
    pub bitrate: u32,
    /// Samples of priming before the first audible one.
    pub priming: u32,
    /// The AudioSpecificConfig.
    pub config: Vec<u8>,
}

/// One encoded sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The bytes as stored.
    pub data: Vec<u8>,
    /// Composition minus decode time in ticks.
    pub composition_offset: u32,
    /// True if decoding can begin here.
    pub sync: bool,
}

/// The init segment of a video track.
///
/// # Errors
/// [`CmafError::Missing`] without SPS or PPS.
pub fn video_init(track: &VideoTrack) -> Result<Vec<u8>, CmafError> {
    let nals: Vec<&[u8]> = nal_units(&track.headers).collect();
    let of_type = |wanted: u8| nals.iter().copied().find(|nal| nal.first().is_some_and(|byte| byte & 0x1f == wanted));
    let sps = of_type(7).filter(|sps| sps.len() >= 4).ok_or(CmafError::Missing("SPS"))?;
    let pps = of_type(8).ok_or(CmafError::Missing("PPS"))?;
    let mut avcc = Avcc::new(sps, pps)?;
    if avcc.avc_profile_indication >= 100 {
        avcc.ext = Some(AvccExt::default());
    }
    let visual = Visual { data_reference_index: 1, width: track.width, height: track.height, ..Visual::default() };
    let colr = match track.colour {
        Some((primaries, transfer, matrix)) => Some(Colr::new(primaries, transfer, matrix, false)?),
        None => None,
    };
    let pasp = Some(Pasp { h_spacing: 1, v_spacing: 1 });
    let entry = Avc1 { visual, avcc, btrt: None, colr, pasp, taic: None, fiel: None, spatial: None };
    let tkhd = Tkhd { width: track.width.into(), height: track.height.into(), ..Tkhd::default() };
    init(TrackBoxes {
        tkhd,
        skipped: track.delay,
        timescale: track.timescale,
        handler: (b"vide", "video"),
        vmhd: Some(Vmhd::default()),
        smhd: None,
        entry: Codec::Avc1(entry),
        default_flags: DEPENDENT_SAMPLE,
    })
}

/// The init segment of an audio track.
///
/// # Errors
/// [`CmafError::Missing`] without a configuration.
pub fn audio_init(track: &AudioTrack) -> Result<Vec<u8>, CmafError> {
    if track.config.len() < 2 {
        return Err(CmafError::Missing("AudioSpecificConfig"));
    }
    let dec_specific = DecoderSpecific { raw: track.config.clone(), ..DecoderSpecific::default() };
    let dec_config = DecoderConfig {
        object_type_indication: AAC_OBJECT_TYPE,
        stream_type: AUDIO_STREAM_TYPE,
        max_bitrate: track.bitrate,
        avg_bitrate: track.bitrate,
        dec_specific: Some(dec_specific),
        ..DecoderConfig::default()
    };
    let es_desc = EsDescriptor { es_id: 1, dec_config, sl_config: SLConfig {}, ..EsDescriptor::default() };
    let audio = Audio {
        data_reference_index: 1,
        channel_count: track.channels,
        sample_size: 16,
        sample_rate: track.sample_rate.into(),
    };
    init(TrackBoxes {
        tkhd: Tkhd { volume: 1.into(), ..Tkhd::default() },
        skipped: track.priming,
        timescale: track.sample_rate.into(),
        handler: (b"soun", "audio"),
        vmhd: None,
        smhd: Some(Smhd::default()),
        entry: Codec::Mp4a(Mp4a { audio, esds: Esds { es_desc }, btrt: None, taic: None }),
        default_flags: SYNC_SAMPLE,
    })
}

struct TrackBoxes {
    tkhd: Tkhd,
    /// Ticks before presentation begins.
    skipped: u32,
    timescale: u32,
    handler: (&'static [u8; 4], &'static str),
    vmhd: Option<Vmhd>,
    smhd: Option<Smhd>,
    entry: Codec,
    default_flags: u32,
}

fn init(track: TrackBoxes) -> Result<Vec<u8>, CmafError> {
    let ftyp = Ftyp { major_brand: FourCC::new(b"iso6"), minor_version: 0, compatible_brands: brands() };
    let dinf = Dinf { dref: Dref { entries: vec![DrefEntry::Url(Url::default())] } };
    let stbl = Stbl { stsd: Stsd { codecs: vec![track.entry] }, ..Stbl::default() };
    let (handler, name) = track.handler;
    let mdia = Mdia {
        mdhd: Mdhd { timescale: track.timescale, language: "und".to_owned(), ..Mdhd::default() },
        hdlr: Hdlr { handler: FourCC::new(handler), name: name.to_owned() },
        minf: Minf { vmhd: track.vmhd, smhd: track.smhd, dinf, stbl, ..Minf::default() },
    };
    let tkhd = Tkhd { track_id: TRACK_ID, enabled: true, in_movie: true, ..track.tkhd };
    // A duration of 0 stands for all that follows in fragments.
    let edit = ElstEntry { segment_duration: 0, media_time: Some(track.skipped.into()), media_rate: 1.into() };
    let edts = (track.skipped > 0).then(|| Edts { elst: Some(Elst { entries: vec![edit] }) });
    let trak = Trak { tkhd, edts, meta: None, mdia, senc: None, tref: None, udta: None };
    let trex = Trex {
        track_id: TRACK_ID,
        default_sample_description_index: 1,
        default_sample_flags: track.default_flags,
        ..Trex::default()
    };
    let mvhd = Mvhd {
        timescale: MOVIE_TIMESCALE,
        rate: 1.into(),
        volume: 1.into(),
        next_track_id: TRACK_ID + 1,
        ..Mvhd::default()
    };
    let moov = Moov { mvhd, mvex: Some(Mvex { mehd: None, trex: vec![trex] }), trak: vec![trak], ..Moov::default() };
    let mut out = Vec::with_capacity(1024);
    ftyp.encode(&mut out)?;
    moov.encode(&mut out)?;
    Ok(out)
}

fn brands() -> Vec<FourCC> {
    [b"iso6", b"cmfc", b"mp41"].into_iter().map(FourCC::new).collect()
}

/// A media segment: one fragment of samples that each last `sample_duration` ticks, decoded from
/// `decode_time` on.
///
/// # Errors
/// [`CmafError::TooLarge`] past 2 GiB.
pub fn segment(number: u32, decode_time: u64, sample_duration: u32, samples: &[Sample]) -> Result<Vec<u8>, CmafError> {
    let mut entries = Vec::with_capacity(samples.len());
    let mut payload = 0usize;
    for sample in samples {
        payload = payload.checked_add(sample.data.len()).ok_or(CmafError::TooLarge)?;
        entries.push(TrunEntry {
            duration: None,
            size: Some(u32::try_from(sample.data.len()).map_err(|_| CmafError::TooLarge)?),
            flags: Some(if sample.sync { SYNC_SAMPLE } else { DEPENDENT_SAMPLE }),
            cts: Some(sample.composition_offset.into()),
        });
    }
    let tfhd = Tfhd {
        track_id: TRACK_ID,
        default_sample_duration: Some(sample_duration),
        default_base_is_moof: true,
        ..Tfhd::default()
    };
    // The offset's field has a fixed width, so that a first pass tells the length of the box.
    let moof = |data_offset: i32| Moof {
        mfhd: Mfhd { sequence_number: number.saturating_add(1) },
        traf: vec![Traf {
            tfhd: tfhd.clone(),
            tfdt: Some(Tfdt { base_media_decode_time: decode_time }),
            trun: vec![Trun { data_offset: Some(data_offset), samples: entries.clone().into() }],
            ..Traf::default()
        }],
    };
    let mut measured = Vec::new();
    moof(0).encode(&mut measured)?;
    let data_offset = i32::try_from(measured.len() + 8).map_err(|_| CmafError::TooLarge)?;
    let mdat_len = i32::try_from(payload + 8).map_err(|_| CmafError::TooLarge)?;

    let mut out = Vec::with_capacity(measured.len() + payload + 64);
    Styp { major_brand: FourCC::new(b"msdh"), minor_version: 0, compatible_brands: segment_brands() }
        .encode(&mut out)?;
    moof(data_offset).encode(&mut out)?;
    out.extend_from_slice(&mdat_len.to_be_bytes());
    out.extend_from_slice(b"mdat");
    for sample in samples {
        out.extend_from_slice(&sample.data);
    }
    Ok(out)
}

fn segment_brands() -> Vec<FourCC> {
    [b"msdh", b"msix", b"cmfs"].into_iter().map(FourCC::new).collect()
}

/// The NAL units of an H.264 byte stream (ITU-T H.264 Annex B), without their start codes.
pub fn nal_units(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = start_code(stream).map_or(&[][..], |(_, after)| &stream[after..]);
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (nal, next) = match start_code(rest) {
                Some((before, after)) => (&rest[..before], &rest[after..]),
                None => (rest, &[][..]),
            };
            rest = next;
            // Zero bytes may trail a unit; none ends in one.
            let end = nal.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            if end > 0 {
                return Some(&nal[..end]);
            }
        }
        None
    })
}

/// Where the next start code begins and ends.
fn start_code(bytes: &[u8]) -> Option<(usize, usize)> {
    let at = bytes.windows(3).position(|window| window == [0, 0, 1])?;
    Some((at, at + 3))
}

/// A sample as MP4 stores it: each NAL unit after its length. Parameter sets, which the init segment
/// carries, and access unit delimiters are left out.
///
/// # Errors
/// [`CmafError::TooLarge`].
pub fn length_prefixed(stream: &[u8]) -> Result<Vec<u8>, CmafError> {
    let mut out = Vec::with_capacity(stream.len() + 16);
    for nal in nal_units(stream) {
        if matches!(nal.first().map(|byte| byte & 0x1f), Some(7..=9)) {
            continue;
        }
        out.extend_from_slice(&u32::try_from(nal.len()).map_err(|_| CmafError::TooLarge)?.to_be_bytes());
        out.extend_from_slice(nal);
    }
    Ok(out)
}

/// The codecs string (RFC 6381) of an init segment, such as `avc1.64001f` or `mp4a.40.2`.
///
/// # Errors
/// The bytes are no init segment of a codec that this program makes.
pub fn codecs_of(init: &[u8]) -> Result<String, CmafError> {
    let mut rest = init;
    Ftyp::decode(&mut rest)?;
    let moov = Moov::decode(&mut rest)?;
    let entry = moov.trak.first().and_then(|trak| trak.mdia.minf.stbl.stsd.codecs.first());
    match entry {
        Some(Codec::Avc1(Avc1 { avcc, .. })) => Ok(format!(
            "avc1.{:02x}{:02x}{:02x}",
            avcc.avc_profile_indication, avcc.profile_compatibility, avcc.avc_level_indication
        )),
        Some(Codec::Mp4a(Mp4a { esds, .. })) => {
            let config = &esds.es_desc.dec_config;
            let object = config.dec_specific.as_ref().map_or(0, |specific| specific.profile);
            Ok(format!("mp4a.{:x}.{object}", config.object_type_indication))
        }
        _ => Err(CmafError::UnknownCodec),
    }
}

/// True if the bytes begin with the boxes of a media segment.
#[must_use]
pub fn is_segment(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    bytes.get(4..8) == Some(Styp::KIND.as_ref()) && Styp::decode(&mut rest).is_ok() && rest.get(4..8) == Some(b"moof")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADERS: &[u8] =
        &[0, 0, 0, 1, 0x67, 0x64, 0x00, 0x1f, 0xac, 0xd9, 0, 0, 0, 1, 0x68, 0xeb, 0xe3, 0, 0, 1, 0x06, 0x05, 0x80];

    fn video() -> VideoTrack {
        VideoTrack {
            width: 640,
            height: 360,
            timescale: 90_000,
            delay: 6000,
            headers: HEADERS.to_vec(),
            colour: Some((1, 1, 1)),
        }
    }

    fn audio() -> AudioTrack {
        AudioTrack { sample_rate: 48_000, channels: 2, bitrate: 128_000, priming: 1024, config: vec![0x11, 0x90] }
    }

    #[test]
    fn codecs_come_from_the_init_segment() {
        assert_eq!(codecs_of(&video_init(&video()).unwrap()).unwrap(), "avc1.64001f");
        assert_eq!(codecs_of(&audio_init(&audio()).unwrap()).unwrap(), "mp4a.40.2");
        assert!(codecs_of(b"no boxes").is_err());
        assert!(codecs_of(&[]).is_err());
    }

    #[test]
    fn headers_without_parameter_sets_are_refused() {
        let track = VideoTrack { headers: vec![0, 0, 1, 0x67, 1], ..video() };
        assert!(matches!(video_init(&track), Err(CmafError::Missing("SPS"))));
        assert!(matches!(audio_init(&AudioTrack { config: vec![], ..audio() }), Err(CmafError::Missing(_))));
    }

    #[test]
    fn presentation_begins_after_what_decoding_needs_in_front() {
        let edits = |bytes: Vec<u8>| {
            let mut rest = bytes.as_slice();
            Ftyp::decode(&mut rest).unwrap();
            let moov = Moov::decode(&mut rest).unwrap();
            assert!(rest.is_empty());
            let elst = moov.trak[0].edts.as_ref().and_then(|edts| edts.elst.clone());
            elst.map(|elst| {
                elst.entries.iter().map(|edit| (edit.segment_duration, edit.media_time)).collect::<Vec<_>>()
            })
        };
        assert_eq!(edits(audio_init(&audio()).unwrap()), Some(vec![(0, Some(1024))]));
        assert_eq!(edits(video_init(&video()).unwrap()), Some(vec![(0, Some(6000))]));
        assert_eq!(edits(video_init(&VideoTrack { delay: 0, ..video() }).unwrap()), None);
    }

    #[test]
    fn a_segment_points_at_its_samples() {
        let samples = [
            Sample { data: vec![1, 2, 3], composition_offset: 0, sync: true },
            Sample { data: vec![4; 10], composition_offset: 6000, sync: false },
        ];
        let bytes = segment(4, 540_000, 3000, &samples).unwrap();
        assert!(is_segment(&bytes));
        let mut rest = bytes.as_slice();
        Styp::decode(&mut rest).unwrap();
        let moof_at = bytes.len() - rest.len();
        let moof = Moof::decode(&mut rest).unwrap();
        let traf = &moof.traf[0];
        assert_eq!(traf.tfdt.as_ref().unwrap().base_media_decode_time, 540_000);
        assert_eq!(moof.mfhd.sequence_number, 5);
        let data = moof_at + usize::try_from(traf.trun[0].data_offset.unwrap()).unwrap();
        assert_eq!(&bytes[data..data + 3], &[1, 2, 3]);
        assert_eq!(bytes.len(), data + 13);
        let second = traf.trun[0].samples.get(1).unwrap();
        assert_eq!((second.size, second.cts, second.flags), (Some(10), Some(6000), Some(DEPENDENT_SAMPLE)));
    }

    #[test]
    fn byte_streams_become_length_prefixed() {
        let stream = [0, 0, 0, 1, 9, 0xf0, 0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x65, 0xaa, 0xbb, 0, 0, 0, 1, 0x41, 0xcc];
        assert_eq!(length_prefixed(&stream).unwrap(), [0, 0, 0, 3, 0x65, 0xaa, 0xbb, 0, 0, 0, 2, 0x41, 0xcc]);
        assert!(length_prefixed(&[]).unwrap().is_empty());
        assert!(length_prefixed(&[1, 2, 3]).unwrap().is_empty());
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = codecs_of(&bytes);
            let _ = is_segment(&bytes);
            let _ = length_prefixed(&bytes);
        }

        #[test]
        fn damaged_init_segments_never_panic(at in 0usize..600, byte: u8) {
            let mut bytes = video_init(&video()).unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = codecs_of(&bytes);
        }
    }
}
